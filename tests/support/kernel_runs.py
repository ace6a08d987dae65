"""What tests of kernels compare, and that a kernel gives the same bits twice."""

from __future__ import annotations

from collections.abc import Callable

import torch


def distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative, NaN where anything was left unwritten."""
    expected = expected.double()
    return float((actual.double() - expected).norm() / expected.norm())


def twice(run: Callable[[], torch.Tensor]) -> torch.Tensor:
    """What it gives, which a second run must give, too."""
    first = run().clone()
    assert torch.equal(first, run()), "two runs differ"
    return first
