"""CacheSalt: a secret word of a client, that parts its cached prompts from those of others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

CacheSalt = Annotated[str, Field(max_length=256)]
"""Only requests of the same one share cached prompts; a field beyond the hosted APIs."""
