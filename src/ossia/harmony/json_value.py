"""Json: what a JSON document can hold, as a type, and its compact text.

The text is that of Rust's serde_json, which wrote what the model was trained on; it differs from
Python's in how it writes floating-point numbers and integers of more than 64 bits. (serde_json may
misread the last of 17 digits of a float; that is not imitated.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeAlias

from ossia.errors import HarmonyDataError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def optional_text(data: Mapping[str, object], name: str, what: str) -> str | None:
    """A field that is text or missing.

    Raises:
        HarmonyDataError: it is something else.
    """
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise HarmonyDataError(f"the {name} of {what} must be text, not {value!r}")
    return value


def compact(value: Json) -> str:
    """JSON without spaces, characters outside ASCII as they are."""
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{compact(key)}:{compact(item)}" for key, item in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    if isinstance(value, float):
        return _float_text(value)
    if type(value) is int and not -(2**63) <= value < 2**64:
        return _float_text(float(value))
    return json.dumps(value, ensure_ascii=False)


def _float_text(value: float) -> str:
    """Shortest round-trip digits; positional notation for exponents from -5 to 15 (Ryu's rule)."""
    sign, digit_tuple, _ = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, digit_tuple)).rstrip("0") or "0"
    if digits == "0":
        return "-0.0" if sign else "0.0"
    exponent = Decimal(repr(value)).adjusted()
    if exponent < -5 or exponent > 15:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        text = f"{digits[0]}{fraction}e{exponent}"
    elif exponent < 0:
        text = "0." + "0" * (-exponent - 1) + digits
    elif len(digits) <= exponent + 1:
        text = digits + "0" * (exponent + 1 - len(digits)) + ".0"
    else:
        text = f"{digits[: exponent + 1]}.{digits[exponent + 1 :]}"
    return f"-{text}" if sign else text
