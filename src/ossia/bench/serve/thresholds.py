"""What a good request may take, in milliseconds: `ttft:500 tpot:20`."""

from __future__ import annotations

from collections.abc import Sequence

from ossia.bench.load_metrics import THRESHOLDS
from ossia.errors import RequestError


def parse_thresholds(words: Sequence[str]) -> dict[str, float]:
    """Thresholds by their metric.

    Args:
        words: Such as "ttft:500"; one may hold several, with spaces between.

    Raises:
        RequestError: an unknown metric, no number, or the same metric twice.
    """
    found: dict[str, float] = {}
    for word in " ".join(words).split():
        name, _, value = word.partition(":")
        if name not in THRESHOLDS:
            raise RequestError(
                f"{word!r} is not one of {', '.join(f'{known}:MS' for known in THRESHOLDS)}",
                field="goodput",
            )
        try:
            limit = float(value)
        except ValueError:
            limit = -1.0
        if not limit > 0:
            raise RequestError(f"{word!r} sets no positive number of ms", field="goodput")
        if name in found:
            raise RequestError(f"{name} is given twice", field="goodput")
        found[name] = limit
    return found
