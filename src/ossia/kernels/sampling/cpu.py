"""Sampling by the CPU kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ossia.kernels.cpu import load, num_threads
from ossia.kernels.cpu.calls import Draw, LogprobsCall, SamplingCall
from ossia.kernels.sampling.drawing import Drawing
from ossia.kernels.temperature import MIN_TEMPERATURE


def widened(logits: torch.Tensor) -> torch.Tensor:
    """As `reference.widened`, by the kernels' own threads.

    After an operation of torch's its threads stay busy for milliseconds waiting for the next one,
    on the cores that the kernels need.

    Args:
        logits: bfloat16 (rows, vocab) on the CPU, contiguous.
    """
    kernels = load()
    assert kernels is not None
    out = torch.empty(logits.shape)
    kernels.call("ossia_widen", logits.data_ptr(), out.data_ptr(), out.numel(), num_threads())
    return out


def sample(
    logits: torch.Tensor, drawings: Sequence[Drawing | None]
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `reference.sample`; weights below e**-87 of the largest are never drawn.

    Args:
        logits: float32 (rows, vocab) on the CPU, contiguous within rows.
        drawings: One a row; None takes the most likely token.
    """
    kernels = load()
    assert kernels is not None
    rows, vocab = logits.shape
    assert len(drawings) == rows
    ids, peaks = torch.empty(rows, dtype=torch.int64), torch.empty(rows)
    draws = (Draw * rows)(*(_as_draw(drawing) for drawing in drawings))
    call = SamplingCall(
        logits.data_ptr(), draws, ids.data_ptr(), peaks.data_ptr(),
        rows, vocab, logits.stride(0), num_threads(),
    )  # fmt: skip
    kernels.call("ossia_sample", call)
    return ids, peaks


def token_logprobs(
    logits: torch.Tensor, token_ids: torch.Tensor, num_top: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `reference.token_logprobs`, the lowest ids first among equals.

    A row without a finite maximum, or with a NaN, gives NaN.

    Args:
        logits: float32 (rows, vocab) on the CPU, contiguous within rows.
        token_ids: int64 (rows,), contiguous.
        num_top: At most vocab.

    Raises:
        KernelError: a token id is not below vocab.
    """
    kernels = load()
    assert kernels is not None
    rows, vocab = logits.shape
    assert len(token_ids) == rows
    assert num_top <= vocab
    chosen, top = torch.empty(rows), torch.empty(rows, num_top)
    top_ids = torch.empty(rows, num_top, dtype=torch.int64)
    call = LogprobsCall(
        logits.data_ptr(), token_ids.data_ptr(),
        chosen.data_ptr(), top.data_ptr(), top_ids.data_ptr(),
        rows, vocab, logits.stride(0), num_top, num_threads(),
    )  # fmt: skip
    kernels.call("ossia_token_logprobs", call)
    return chosen, top, top_ids


def _as_draw(drawing: Drawing | None) -> Draw:
    if drawing is None:
        return Draw(temperature=0.0)
    return Draw(
        uniform=drawing.uniform,
        top_k=drawing.top_k,
        temperature=max(drawing.temperature, MIN_TEMPERATURE),
        top_p=drawing.top_p,
        min_p=drawing.min_p,
    )
