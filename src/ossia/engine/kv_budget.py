"""How many pages the KV cache gets when nobody says."""

from __future__ import annotations

import torch

from ossia.cache.layout import KVLayout
from ossia.engine.config import EngineConfig
from ossia.errors import ConfigError
from ossia.machine import machine_memory

_CPU_SHARE = 0.25  # of all memory; weights, activations and other programs need the rest
_CUDA_SHARE = 0.9  # of what is free once the weights are there


def num_pages(
    config: EngineConfig, layout: KVLayout, context: int, itemsize: int, device: torch.device
) -> int:
    """Pages to make.

    Args:
        config: Says it outright, gives a size in bytes, or leaves it to the machine.
        layout: Size of a page.
        context: Longest sequence; no more is made than all sequences together could use.
        itemsize: Bytes of one stored number.
        device: Where the pages will be.

    Raises:
        ConfigError: the size in bytes is too small for a page of each group.
    """
    if config.num_pages is not None:
        return config.num_pages
    page_bytes = layout.page_bytes(itemsize)
    if config.kv_cache_bytes is not None:
        pages = config.kv_cache_bytes // page_bytes
        if pages < len(layout.groups):
            raise ConfigError(
                f"kv_cache_bytes={config.kv_cache_bytes} is too small; "
                f"one page needs {page_bytes} bytes, and {len(layout.groups)} are the least"
            )
        return pages
    useful = config.max_sequences * len(layout.groups) * (-(-context // layout.page_size) + 1)
    return max(len(layout.groups), min(useful, _memory_share(device) // page_bytes))


def _memory_share(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * _CUDA_SHARE)
    return int(machine_memory()[0].total_bytes * _CPU_SHARE)
