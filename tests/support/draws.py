"""Whether tokens are the ones that chance says, whatever drew them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_SLACK = 1e-5  # of a row's weights, for those that are added up in float32


def check_draws(
    logits: torch.Tensor,
    ids: Sequence[int],
    temperatures: Sequence[float],
    uniforms: Sequence[float],
) -> None:
    """Weights added up to a row's id pass its number, and those before it do not.

    Args:
        logits: (rows, valid ids).
        ids: What was drawn.
        temperatures: 0 where it must be the most likely id, the lowest among equals.
        uniforms: Of the rows, in [0, 1).
    """
    peaks = logits.double().amax(1, keepdim=True)
    for row, (id_, temperature) in enumerate(zip(ids, temperatures, strict=True)):
        valid = logits[row].double()
        if temperature == 0:
            assert id_ == int((valid == peaks[row]).nonzero()[0])
            continue
        weights = ((valid - peaks[row]) / temperature).exp()
        sums = weights.cumsum(0)
        total = float(sums[-1])
        target = uniforms[row] * total
        assert 0 <= id_ < len(valid)
        assert weights[id_] > 0
        assert sums[id_] > target - _SLACK * total
        assert id_ == 0 or sums[id_ - 1] <= target + _SLACK * total
