"""Least and greatest values of a schema, narrowed to what the compiler can count with.

It reads them as doubles and counts with 64-bit integers. What is drawn within narrower bounds keeps
to the wider ones.
"""

from __future__ import annotations

import math
from typing import Any, Final

_MAX_INTEGER: Final = 2**63 - 1
_MAX_NUMBER: Final = 2**63 - 1024  # the double before 2^63; its negative is the least of integers
_LAST_POWER: Final = 10**18  # from which no end can be without the next power of ten
_MIN_NUMBER: Final = 1e-60  # above 0; each zero behind the point is a level of parentheses
_LOWER: Final = ("minimum", "exclusiveMinimum")
_UPPER: Final = ("maximum", "exclusiveMaximum")


def narrow_bounds(schema: dict[str, Any]) -> str | None:
    """Narrow the bounds of a schema where it has to be.

    Args:
        schema: Changed in place, without what is in it.

    Returns:
        The bound that lets nothing through that can be written; None if there is none.
    """
    most = _MAX_INTEGER if _is_integer(schema.get("type")) else _MAX_NUMBER
    before = _span(schema)
    for name in (*_LOWER, *_UPPER):
        value = schema.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            continue  # the compiler says so
        bound = _raised(value) if name in _LOWER else _lowered(value, most)
        if bound is None:
            return name
        schema[name] = bound
    after = _span(schema)
    if after[0] >= _LAST_POWER and after[1] == math.inf:
        schema["maximum"] = most
    if after[1] <= -_LAST_POWER and after[0] == -math.inf:
        schema["minimum"] = -_MAX_NUMBER
    if before[0] < before[1] and after[0] >= after[1]:
        return next(name for name in (*_LOWER, *_UPPER) if name in schema)
    return None


def _is_integer(kinds: object) -> bool:
    listed = kinds if isinstance(kinds, list) else [kinds]
    return "integer" in listed and "number" not in listed


def _span(schema: dict[str, Any]) -> tuple[float, float]:
    def values(names: tuple[str, ...]) -> list[float]:
        given = (schema.get(name) for name in names)
        return [one for one in given if isinstance(one, int | float)]

    return max(values(_LOWER), default=-math.inf), min(values(_UPPER), default=math.inf)


def _raised(value: float) -> float | None:
    """The least number from a lower bound on that the compiler has; None if there is none."""
    if value > _MAX_NUMBER:
        return None
    if value < -_MAX_NUMBER:
        return -_MAX_NUMBER
    if isinstance(value, int):
        near = float(value)
        return int(near if near >= value else math.nextafter(near, math.inf))
    if 0 < abs(value) < _MIN_NUMBER:
        return _MIN_NUMBER if value > 0 else 0
    return value


def _lowered(value: float, most: int) -> float | None:
    """The same for an upper bound, of which there is one for all that is greater."""
    if value >= most:
        return most
    raised = _raised(-value)
    return None if raised is None else -raised
