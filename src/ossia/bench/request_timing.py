"""RequestTiming: when the output of one request came. TTFT, TPOT, ITL and E2EL are defined here."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(slots=True, kw_only=True)
class RequestTiming:
    """One request on a run's clock, in seconds.

    A piece is whatever came at once: a token from the engine, an event of a stream from a server,
    which may hold several tokens.

    Args:
        started: When it was queued, or its connection begun.
        input_tokens: Of its prompt.
        output_tokens: That were made for it, those that cannot be seen included.
        pieces: When each piece of its output came.
        error: Why it failed; None if it did not.
    """

    started: float
    input_tokens: int
    output_tokens: int = 0
    pieces: list[float] = field(default_factory=list[float])
    error: str | None = None

    @property
    def ttft(self) -> float | None:
        """Time to first token: from the start to the first piece; None where none came."""
        return self.pieces[0] - self.started if self.pieces else None

    @property
    def e2el(self) -> float | None:
        """End-to-end latency: from the start to the last piece; None where none came."""
        return self.pieces[-1] - self.started if self.pieces else None

    @property
    def tpot(self) -> float | None:
        """Time per output token: (E2EL - TTFT) / (output tokens - 1); None of a single one."""
        if not self.pieces or self.output_tokens < 2:
            return None
        return (self.pieces[-1] - self.pieces[0]) / (self.output_tokens - 1)

    @property
    def itls(self) -> list[float]:
        """Inter-token latencies: the gaps between pieces."""
        return [later - earlier for earlier, later in pairwise(self.pieces)]
