"""`include_obfuscation`: deltas padded, so that their sizes tell an eavesdropper less."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

_STEP: Final = 32  # characters; every padded delta fills a multiple of it


def obfuscated(batch: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events, those that are deltas with an `obfuscation`."""
    return [
        {**event, "obfuscation": _padding(event["delta"])} if "delta" in event else event
        for event in batch
    ]


def _padding(delta: str) -> str:
    length = _STEP - len(delta) % _STEP
    return secrets.token_urlsafe(length)[:length]
