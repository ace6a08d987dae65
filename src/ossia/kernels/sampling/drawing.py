"""Drawing: how the token of a row is drawn by chance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Parameters of a row, as `reference.truncate` and `reference.draw` take them.

    Args:
        temperature: Above 0.
        top_k: 0 keeps all.
        top_p: 1 keeps all.
        min_p: 0 keeps all.
        uniform: In [0, 1).
    """

    temperature: float
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    uniform: float
