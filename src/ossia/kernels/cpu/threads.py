"""How many threads the CPU kernels may use."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import torch

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def num_threads() -> int:
    """As many as torch uses, but no more than this process has cores to itself.

    torch's number is that of OMP_NUM_THREADS, or whatever `torch.set_num_threads` said last.
    """
    return max(1, min(torch.get_num_threads(), _cores()))


def allowed_cpus() -> set[int]:
    """CPUs that this thread, and those it starts, may run on; empty where the system does not say."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


@lru_cache
def _cores() -> int:
    return cores_within(_CGROUPS, _OWN_CGROUP)


def cores_within(cgroups: Path, own_cgroup: Path) -> int:
    """Cores that this process may run on and, on Linux, that its container's quota pays for.

    Args:
        cgroups: Where control groups (version 2) are mounted.
        own_cgroup: A file that says which of them this process is in.
    """
    cores = len(allowed_cpus()) or os.cpu_count() or 1
    quotas = [_quota(folder / "cpu.max") for folder in _own_folders(cgroups, own_cgroup)]
    return max(1, min([cores, *(quota for quota in quotas if quota is not None)]))


def _own_folders(cgroups: Path, own_cgroup: Path) -> list[Path]:
    """This process's group and all above it: the tightest quota holds."""
    try:
        lines = own_cgroup.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    own = next((line[3:].strip("/") for line in lines if line.startswith("0::")), None)
    if own is None:
        return []
    folder = cgroups / own
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(cgroups))]


def _quota(file: Path) -> int | None:
    """Cores in a cpu.max file such as "150000 100000", rounded up; None for no limit."""
    try:
        quota, period = file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else -(-int(quota) // int(period))
