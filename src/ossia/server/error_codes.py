"""code_of: the hosted API's word for what pydantic finds wrong with a value."""

from __future__ import annotations

from typing import Final

from pydantic_core import ErrorDetails

_BELOW: Final = ("ge", "gt")
_ABOVE: Final = ("le", "lt")
_CODES: Final = {
    "too_short": "array_below_min_length",
    "too_long": "array_above_max_length",
    "string_too_short": "string_below_min_length",
    "string_too_long": "string_above_max_length",
    "int_from_float": "invalid_type",
    "missing": "missing_required_parameter",
}
_TYPES: Final = "_type"  # what the errors about another type than the wanted one end with


def code_of(detail: ErrorDetails) -> str:
    """The `code` of the error object; `invalid_value` where there is no closer word."""
    kind, context = detail["type"], detail.get("ctx", {})
    for names, side in ((_BELOW, "below_min_value"), (_ABOVE, "above_max_value")):
        for name in names:
            if name in context:
                number = "decimal" if isinstance(context[name], float) else "integer"
                return f"{number}_{side}"
    if kind == "too_short" and context.get("actual_length") == 0:
        return "empty_array"
    if kind in _CODES:
        return _CODES[kind]
    return "invalid_type" if kind.endswith(_TYPES) else "invalid_value"
