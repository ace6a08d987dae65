"""How many threads the CPU kernels use: torch's number, the cores, a container's quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ossia.kernels.cpu import num_threads, threads


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def _groups(folder: Path, own: str, **quotas: str) -> tuple[Path, Path]:
    """A tree of control groups; quotas by the name of a group's folder, "root" being the top."""
    for name, quota in quotas.items():
        place = folder / "cgroup" / (own.partition(name)[0] + name if name != "root" else "")
        place.mkdir(parents=True, exist_ok=True)
        (place / "cpu.max").write_text(quota + "\n")
    (folder / "own").write_text(f"0::/{own}\n")
    return folder / "cgroup", folder / "own"


def test_the_cores_this_process_may_use(eight_cores, tmp_path):
    assert threads.cores_within(tmp_path / "none", tmp_path / "none") == 8


@pytest.mark.parametrize(
    ("quotas", "cores"),
    [
        ({"job": "max 100000"}, 8),
        ({"job": "300000 100000"}, 3),
        ({"job": "150000 100000"}, 2),
        ({"job": "10000 100000"}, 1),
        ({"job": "max 100000", "slice": "200000 100000"}, 2),
        ({"root": "400000 100000"}, 4),
        ({"job": "1600000 100000"}, 8),
        ({"job": "nonsense"}, 8),
    ],
)
def test_a_quota_of_this_group_or_one_above(eight_cores, tmp_path, quotas, cores):
    assert threads.cores_within(*_groups(tmp_path, "a.slice/job", **quotas)) == cores


def test_torch_may_use_fewer(monkeypatch):
    monkeypatch.setattr(threads, "_cores", lambda: 6)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert num_threads() == 4
    monkeypatch.setattr(threads, "_cores", lambda: 1)
    assert num_threads() == 1
