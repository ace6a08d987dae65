"""What the developer message says of the form of the answer, in harmony's sections for that."""

from __future__ import annotations

from typing import Any, Final

import orjson

VERBOSITY: Final = {
    "low": "# Verbosity\n\nKeep the answer short.",
    "high": "# Verbosity\n\nAnswer at length and in detail.",
}
"""Sections by the API's word; "medium" needs none."""


def schema_section(name: str, description: str | None, schema: dict[str, Any]) -> str:
    """The section that shows the model a JSON schema its answer is to match."""
    lines = ["# Response Formats", "", f"## {name}", ""]
    lines += [f"// {line}" for line in (description or "").splitlines()]
    return "\n".join([*lines, orjson.dumps(schema).decode()])
