"""How many pages the KV cache gets when nobody says."""

from __future__ import annotations

import torch

from ossia.cache.layout import KVLayout
from ossia.config import ModelConfig
from ossia.engine.config import EngineConfig, StepLimits
from ossia.errors import ConfigError
from ossia.machine import machine_memory

_CPU_SHARE = 0.25  # of all memory; weights, activations and other programs need the rest
_CUDA_SHARE = 0.9  # of what is free once the weights are there


_USUAL_TOKENS = 1024  # of a sequence, when the number of those side by side is left to the machine


def layout_for(config: EngineConfig, model: ModelConfig) -> KVLayout:
    """How an engine's pages hold a model's layers."""
    return KVLayout.of(model, config.page_size, 2 if config.kv_dtype == "fp8" else 1)


def pass_bytes(model: ModelConfig, limits: StepLimits) -> int:
    """What forward passes need beside weights and pages, roughly.

    Rows of every token of the largest pass, in two bytes a number, twice since torch still has some
    of the layer before; and logits of every sequence, of passes, of steps, and while tokens are drawn.
    """
    heads = model.num_attention_heads + model.num_key_value_heads
    of_experts = model.experts_per_token * (model.intermediate_size + model.hidden_size)
    widths = 3 * model.hidden_size + 2 * heads * model.head_dim + of_experts
    rows = 2 * 2 * widths * limits.max_batch_tokens
    logits = 4 * model.vocab_size * 4 * limits.max_sequences
    return rows + logits


def share_out(
    config: EngineConfig,
    model: ModelConfig,
    layout: KVLayout,
    context: int,
    row_bytes: int,
    device: torch.device,
) -> tuple[StepLimits, int]:
    """How much a forward pass takes, and the pages to make beside it.

    Args:
        config: What is asked for.
        model: Shape of the model.
        layout: Size of a page.
        context: Longest sequence.
        row_bytes: Of a key of one head, as `KVLayout.page_bytes` takes it.
        device: Where everything will be.

    Raises:
        ConfigError: the cache's size in bytes is too small for a page of each group, or the share of the memory
            leaves nothing.
    """
    limits = config.step_limits(device.type)

    def pages() -> int:
        reserve = pass_bytes(model, limits)
        most = limits.max_sequences
        return num_pages(config, layout, context, row_bytes, device, most, reserve)

    count = pages()
    room = count // _pages_of(layout, min(_USUAL_TOKENS, context))
    fitting = config.step_limits(device.type, room)
    if fitting.max_sequences < limits.max_sequences:  # then logits leave more room for pages
        limits = fitting
        count = pages()
    return limits, count


def num_pages(
    config: EngineConfig,
    layout: KVLayout,
    context: int,
    row_bytes: int,
    device: torch.device,
    max_sequences: int,
    reserve: int = 0,
) -> int:
    """Pages to make.

    Args:
        config: Says it outright, gives a size in bytes, or leaves it to the machine.
        layout: Size of a page.
        context: Longest sequence; no more is made than all sequences together could use.
        row_bytes: Of a key of one head, as `KVLayout.page_bytes` takes it.
        device: Where the pages will be.
        max_sequences: Side by side.
        reserve: Bytes that other things need there; for a size that is left to the machine.

    Raises:
        ConfigError: the size in bytes is too small for a page of each group, or the share of the memory leaves
            nothing.
    """
    if config.num_pages is not None:
        return config.num_pages
    page_bytes = layout.page_bytes(row_bytes)
    if config.kv_cache_bytes is not None:
        pages = config.kv_cache_bytes // page_bytes
        if pages < len(layout.groups):
            raise ConfigError(
                f"kv_cache_bytes={config.kv_cache_bytes} is too small; "
                f"one page needs {page_bytes} bytes, and {len(layout.groups)} are the least"
            )
        return pages
    useful = max_sequences * sum(-(-context // size) + 1 for size in layout.page_sizes)
    least = len(layout.groups)
    if device.type == "cuda" and config.memory_share is not None:
        pages = _within_share(device, config.memory_share, reserve) // page_bytes
        if pages < least:
            raise ConfigError(_too_small(device, config.memory_share, reserve))
    else:
        pages = _memory_for_pages(device, reserve) // page_bytes
    return max(least, min(useful, pages))


def _pages_of(layout: KVLayout, num_tokens: int) -> int:
    """Pages that a sequence of so many tokens owns, when it takes one token after the other."""
    seen = [min(num_tokens, window or num_tokens) for window in layout.windows]
    return sum(-(-count // size) + 1 for count, size in zip(seen, layout.page_sizes, strict=True))


def _memory_for_pages(device: torch.device, reserve: int) -> int:
    """Bytes, where nobody has said a share."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return max(0, min(int(free * _CUDA_SHARE), free - reserve))
    return int(machine_memory()[0].total_bytes * _CPU_SHARE)


def _within_share(device: torch.device, share: float, reserve: int) -> int:
    """Bytes that a share of the memory leaves; negative if it is used up."""
    free, total = torch.cuda.mem_get_info(device)
    return int(total * share) - (total - free) - reserve


def _too_small(device: torch.device, share: float, reserve: int) -> str:
    free, total = torch.cuda.mem_get_info(device)
    return (
        f"{share} of {total / 1e9:.1f} GB leaves nothing for the KV cache, {(total - free) / 1e9:.1f} GB being in use "
        f"and {reserve / 1e9:.1f} GB what passes need; raise memory_share (an LLM's gpu_memory_utilization), or lower "
        "max_batch_tokens or max_sequences"
    )
