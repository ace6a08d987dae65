"""Memory: how much of it this machine and its GPUs have, and have free."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory that weights can lie in.

    Args:
        name: "RAM", or the GPU's name.
        device: What torch calls it.
        total_bytes: Its size, or this container's share of it.
        free_bytes: What a new process may still take.
    """

    name: str
    device: str
    total_bytes: int
    free_bytes: int


def machine_memory() -> tuple[Memory, ...]:
    """RAM first, then every visible GPU."""
    gpus = []
    for idx in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(idx)
        gpus.append(Memory(torch.cuda.get_device_name(idx), f"cuda:{idx}", total, free))
    return (_ram(_MEMINFO, _CGROUP_LIMIT), *gpus)


def _ram(meminfo: Path, cgroup_limit: Path) -> Memory:
    if not meminfo.exists():  # not Linux: what is free cannot be told without more packages
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Memory("RAM", "cpu", total, total)
    lines = (line.split() for line in meminfo.read_text(encoding="ascii").splitlines())
    kibibytes = {words[0].rstrip(":"): int(words[1]) for words in lines}
    total, free = kibibytes["MemTotal"] * 1024, kibibytes["MemAvailable"] * 1024
    limit = cgroup_limit.read_text(encoding="ascii").strip() if cgroup_limit.exists() else "max"
    if limit != "max":
        total, free = min(total, int(limit)), min(free, int(limit))
    return Memory("RAM", "cpu", total, free)
