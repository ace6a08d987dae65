"""Threads: small models on the CPU run on one, others as torch would."""

from __future__ import annotations

import pytest
import torch

from ossia.api.threads import use_fitting_threads


@pytest.fixture
def chosen(monkeypatch) -> list[int]:
    """Thread counts that were set."""
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    return counts


def _module(num_bytes: int, device: str = "cpu") -> torch.nn.Module:
    module = torch.nn.Module()
    values = torch.empty((), dtype=torch.uint8, device=device).expand(num_bytes)
    module.weight = torch.nn.Parameter(values, requires_grad=False)
    return module


def test_small_models_run_on_one_thread(chosen):
    use_fitting_threads(_module(999_999_999))
    assert chosen == [1]


@pytest.mark.parametrize(("num_bytes", "device"), [(1_000_000_000, "cpu"), (1, "meta")])
def test_others_are_left_alone(chosen, num_bytes, device):
    use_fitting_threads(_module(num_bytes, device))
    assert chosen == []
