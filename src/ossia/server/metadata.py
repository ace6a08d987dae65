"""Metadata that clients attach to what is stored: its limits are the hosted API's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

_Key = Annotated[str, Field(max_length=64)]
_Value = Annotated[str, Field(max_length=512)]

Metadata = Annotated[dict[_Key, _Value], Field(max_length=16)]
"""Pairs of short texts, and not many of them."""
