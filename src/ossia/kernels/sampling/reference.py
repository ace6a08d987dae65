"""Sampling with plain torch operations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch

from ossia.kernels.sampling.drawing import Drawing
from ossia.kernels.temperature import MIN_TEMPERATURE

_TOP_P_CANDIDATES = 512  # most distributions reach top-p within these; the rest are sorted whole


def widened(logits: torch.Tensor) -> torch.Tensor:
    """Logits as the other functions take them.

    Args:
        logits: (rows, vocab) as the model gives them.

    Returns:
        (rows, vocab) in float32, or as they are if that is no narrower.
    """
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def penalise(
    logits: torch.Tensor,
    in_prompt: torch.Tensor,
    output_counts: torch.Tensor,
    repetition: torch.Tensor,
    presence: torch.Tensor,
    frequency: torch.Tensor,
) -> torch.Tensor:
    """Make tokens less likely that were seen before.

    Repetition divides positive and multiplies negative logits of tokens in prompt or output (Keskar
    et al. 2019, arXiv:1909.05858, section 4.1); presence is subtracted for tokens in the output,
    frequency for each of their occurrences (OpenAI API reference).

    Args:
        logits: (rows, vocab).
        in_prompt: bool (rows, vocab).
        output_counts: (rows, vocab), occurrences in the output.
        repetition: (rows,).
        presence: (rows,).
        frequency: (rows,).

    Returns:
        (rows, vocab), new.
    """
    in_output = output_counts > 0
    factor = torch.where(logits > 0, 1.0 / repetition[:, None], repetition[:, None])
    logits = torch.where(in_prompt | in_output, logits * factor, logits)
    return logits - presence[:, None] * in_output - frequency[:, None] * output_counts


def allow_only(logits: torch.Tensor, rows: list[int], bits: torch.Tensor) -> None:
    """Rule out, in place, all tokens but those of a set.

    Args:
        logits: (rows, vocab).
        rows: Which of them have a set.
        bits: uint8 (len(rows), ceil(vocab / 8)): bit i % 8 of byte i // 8 is set if id i is allowed.
    """
    table = _limits_of_bytes(logits.dtype, logits.device)
    vocab = logits.shape[1]
    for row, packed in zip(rows, bits.int(), strict=True):
        # Row by row it stays in the cache; a minimum is seven times faster than a masked fill.
        limits = table.index_select(0, packed).view(-1)[:vocab]
        torch.minimum(logits[row], limits, out=logits[row])


@cache
def _limits_of_bytes(dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(256, 8): for each byte what its bits let through, +inf for 1 and -inf for 0."""
    values = torch.arange(256, dtype=torch.uint8)
    is_set = (values[:, None] >> torch.arange(8, dtype=torch.uint8) & 1).bool()
    return torch.where(is_set, torch.inf, -torch.inf).to(device, dtype).contiguous()


def truncate(
    logits: torch.Tensor,
    temperature: torch.Tensor,
    top_k: torch.Tensor,
    top_p: torch.Tensor,
    min_p: torch.Tensor,
    *,
    evenly: bool = False,
) -> torch.Tensor:
    """Sharpen by temperature, then keep the likely tokens only.

    In this order, each on what the one before has left: the top_k most likely; the smallest set of
    most likely tokens whose probability reaches top_p (Holtzman et al. 2020, arXiv:1904.09751);
    those at least min_p times as likely as the most likely (Nguyen et al. 2024, arXiv:2407.01082).
    Tokens as likely as the last one kept are kept, too, so that order among equals plays no part.

    Args:
        logits: (rows, vocab).
        temperature: (rows,), above 0.
        top_k: int64 (rows,); 0 keeps all.
        top_p: (rows,); 1 keeps all.
        min_p: (rows,); 0 keeps all.
        evenly: Whether a row's sums must not depend on what the other rows need: all get it then.

    Returns:
        (rows, vocab), new, with a maximum of 0 in each row and -inf for what is not kept.
    """
    peak = logits.amax(dim=-1, keepdim=True)
    logits = (logits - peak) / temperature.clamp(min=MIN_TEMPERATURE)[:, None]
    vocab = logits.shape[1]
    largest_k = int(top_k.max()) if len(top_k) else 0
    if largest_k:
        k = torch.where(top_k == 0, vocab, top_k).clamp(max=vocab)
        best = logits.topk(min(largest_k, vocab), dim=-1).values  # (rows, largest_k)
        last = (k - 1).clamp(max=best.shape[1] - 1)
        threshold = best.gather(1, last[:, None]).masked_fill((k == vocab)[:, None], -torch.inf)
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    if bool((top_p < 1).any()):
        logits = logits.masked_fill(
            logits < _top_p_threshold(logits, top_p, evenly=evenly), -torch.inf
        )
    if bool((min_p > 0).any()):
        logits = logits.masked_fill(logits < min_p.log()[:, None], -torch.inf)
    return logits


def draw(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Invert the distribution function, tokens in the order of their ids.

    Args:
        logits: (rows, vocab). A row without a finite maximum gives an arbitrary id.
        uniform: float64 (rows,) in [0, 1).

    Returns:
        int64 (rows,): the first id at which the cumulated probability exceeds `uniform`.
    """
    probs = (logits - logits.amax(dim=-1, keepdim=True)).exp()
    cumulated = probs.cumsum(dim=-1, dtype=torch.float64)
    # Rounding may carry the product up to the total, which no id exceeds: stay below it.
    total = cumulated[:, -1]
    target = torch.minimum(uniform * total, total.nextafter(torch.zeros_like(total)))
    ids = torch.searchsorted(cumulated, target[:, None], right=True).squeeze(1)
    return ids.clamp(max=logits.shape[1] - 1)


def draw_greedy(logits: torch.Tensor) -> torch.Tensor:
    """The most likely token of each row, the lowest id among equals.

    Args:
        logits: (rows, vocab).

    Returns:
        int64 (rows,).
    """
    return logits.argmax(dim=-1)


def sample(
    logits: torch.Tensor, drawings: Sequence[Drawing | None], *, evenly: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """A token of each row.

    Args:
        logits: (rows, vocab).
        drawings: One a row; None takes the most likely token, the lowest id among equals.
        evenly: As for `truncate`.

    Returns:
        int64 (rows,): ids, which mean nothing where the largest logit is not finite; (rows,): the largest
        logits, NaN where there is a NaN.
    """
    peaks = logits.amax(dim=-1)
    rows = [row for row, drawing in enumerate(drawings) if drawing is not None]
    if not rows:
        return draw_greedy(logits), peaks
    chosen = [drawing for drawing in drawings if drawing is not None]

    def each(values: list[float], dtype: torch.dtype = logits.dtype) -> torch.Tensor:
        return torch.tensor(values, dtype=dtype, device=logits.device)

    kept = truncate(
        logits if len(rows) == len(drawings) else logits[rows],
        each([drawing.temperature for drawing in chosen]),
        each([drawing.top_k for drawing in chosen], torch.int64),
        each([drawing.top_p for drawing in chosen]),
        each([drawing.min_p for drawing in chosen]),
        evenly=evenly,
    )
    drawn = draw(kept, each([drawing.uniform for drawing in chosen], torch.float64))
    if len(rows) == len(drawings):
        return drawn, peaks
    token_ids = draw_greedy(logits)
    token_ids[rows] = drawn
    return token_ids, peaks


def token_logprobs(
    logits: torch.Tensor, token_ids: torch.Tensor, num_top: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Log-probabilities of given tokens, and the most likely ones beside them.

    Args:
        logits: (rows, vocab).
        token_ids: int64 (rows,).
        num_top: How many of the most likely tokens to report, at most vocab.

    Returns:
        (rows,) of the given tokens; (rows, num_top) of the most likely, best first; their ids.
    """
    normaliser = logits.logsumexp(dim=-1, keepdim=True)
    chosen = logits.gather(1, token_ids[:, None]) - normaliser
    top = logits.topk(num_top, dim=-1)
    return chosen.squeeze(1), top.values - normaliser, top.indices


def _top_p_threshold(logits: torch.Tensor, top_p: torch.Tensor, *, evenly: bool) -> torch.Tensor:
    """(rows, 1): the smallest logit of the smallest set that reaches top_p."""
    target = top_p[:, None] * logits.exp().sum(dim=-1, keepdim=True)
    threshold = logits.new_full(target.shape, -torch.inf)
    best = logits.topk(min(_TOP_P_CANDIDATES, logits.shape[1]), dim=-1).values
    within = _border(best, target)
    reached = best.exp().sum(dim=-1, keepdim=True) >= target
    threshold = torch.where(reached, within, threshold)
    rest = (~reached & (top_p < 1)[:, None]).squeeze(1).nonzero().squeeze(1)
    if len(rest):
        sorted_rows = torch.arange(len(logits), device=logits.device) if evenly else rest
        ordered = logits[sorted_rows].sort(dim=-1, descending=True).values
        border = _border(ordered, target[sorted_rows])
        threshold[rest] = border[rest] if evenly else border
    return threshold.masked_fill((top_p >= 1)[:, None], -torch.inf)


def _border(ordered: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(rows, 1): the logit at which cumulated weights of a descending row reach the target."""
    weights = ordered.exp()
    before = weights.cumsum(dim=-1) - weights  # weight of all that are more likely
    num_kept = (before < target).sum(dim=-1, keepdim=True)
    return ordered.gather(1, (num_kept - 1).clamp(min=0))
