"""Visibility: what clients get to see of the reasoning, and what they carry of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ossia.server.responses.schemas import ResponseRequest
from ossia.server.responses.sealing import Sealer
from ossia.server.settings import ReasoningOutput

JsonObject = dict[str, Any]

ENCRYPTED: Final = "reasoning.encrypted_content"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """How reasoning items are made.

    Args:
        raw: The reasoning stands in their content.
        summary: It stands in their summary, word for word.
        carried: Clients get it sealed, too.
        kept: It must be sealed for the store, since it stands nowhere in the clear.
        sealer: Seals it.
    """

    raw: bool = True
    summary: bool = False
    carried: bool = False
    kept: bool = False
    sealer: Sealer | None = None

    @property
    def seal(self) -> Callable[[str], str] | None:
        """Gives what clients carry as `encrypted_content`; None if they carry nothing."""
        return self.sealer.seal if self.carried and self.sealer is not None else None

    def kept_item(self, item: JsonObject, text: str) -> JsonObject:
        """An item as it goes to the store.

        Args:
            item: As clients get it.
            text: All that was written in it.
        """
        sealed = "encrypted_content" in item or item["type"] != "reasoning"
        if sealed or not self.kept or self.sealer is None:
            return item
        return {**item, "encrypted_content": self.sealer.seal(text)}


def visibility(
    setting: ReasoningOutput, request: ResponseRequest, sealer: Sealer, *, stored: bool
) -> Visibility:
    """What the server's setting and a request come to.

    A summary that is asked for is given beside the raw text, but what the setting hides stays
    hidden.

    Args:
        setting: How the server gives reasoning.
        request: May ask for a summary and for sealed reasoning.
        sealer: Seals it.
        stored: Whether the response is kept.
    """
    asked = request.reasoning is not None and request.reasoning.wanted_summary is not None
    raw = setting in ("raw", "both")
    return Visibility(
        raw=raw,
        summary=setting in ("summary", "both") or (raw and asked),
        carried=request.includes(ENCRYPTED),
        kept=stored and not raw,
        sealer=sealer,
    )
