"""Whether tokens are the ones that chance says, whatever drew them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from ossia.kernels.decode.draw import Chance

_SLACK = 1e-5  # of a row's weights, for those that are added up in float32


def check_draws(
    logits: torch.Tensor,
    ids: Sequence[int],
    rows: Sequence[Chance],
    uniforms: Sequence[float],
) -> None:
    """Weights added up to a row's id pass its number, and those before it do not.

    Args:
        logits: (rows, valid ids); -inf for what may not come.
        ids: What was drawn.
        rows: How.
        uniforms: Of the rows, in [0, 1).
    """
    for row, (id_, chance) in enumerate(zip(ids, rows, strict=True)):
        valid = logits[row].double()
        peak = valid.max()
        if chance.temperature == 0:
            assert id_ == int((valid == peak).nonzero()[0])
            continue
        depths = (peak - valid) / chance.temperature
        assert 0 <= id_ < len(valid)
        assert any(
            _is_drawn(depths, deepest, id_, uniforms[row]) for deepest in _cuts(depths, chance)
        ), (row, chance)


def packed(sets: torch.Tensor) -> torch.Tensor:
    """Sets as `draw` takes them.

    Args:
        sets: (any number, ids), not 0 where an id belongs to one.

    Returns:
        uint8 (any number, ceil(ids / 8)).
    """
    count, ids = sets.shape
    bits = torch.zeros(count, -(-ids // 8) * 8, dtype=torch.uint8, device=sets.device)
    bits[:, :ids] = sets != 0
    places = torch.arange(8, dtype=torch.uint8, device=sets.device)
    return (bits.view(count, -1, 8) << places).sum(-1, dtype=torch.uint8)


def _is_drawn(depths: torch.Tensor, deepest: float, id_: int, uniform: float) -> bool:
    weights = (-depths).exp().where(depths <= deepest, 0.0)
    sums = weights.cumsum(0)
    total = float(sums[-1])
    target, slack = uniform * total, _SLACK * total
    return bool(
        weights[id_] > 0
        and sums[id_] > target - slack
        and (id_ == 0 or sums[id_ - 1] <= target + slack)
    )


def _cuts(depths: torch.Tensor, chance: Chance) -> Iterator[float]:
    """How deep the last one lies that may be drawn: all answers that rounding may give."""
    ordered = depths.sort().values
    if chance.top_k:
        ordered = ordered[ordered <= ordered[min(chance.top_k, len(ordered)) - 1]]
    counts = {len(ordered)}
    if chance.top_p < 1:
        weights = (-ordered).exp()
        before, total = weights.cumsum(0) - weights, float(weights.sum())
        lowest, highest = (
            int((before < (chance.top_p + slack) * total).sum()) for slack in (-_SLACK, _SLACK)
        )
        counts = set(range(max(lowest, 1), max(highest, 1) + 1))
    reach = -math.log(chance.min_p) if chance.min_p else math.inf
    for deepest in {float(ordered[count - 1]) for count in counts}:
        yield from {min(deepest, reach + slack) for slack in (-_SLACK, 0.0, _SLACK)}
