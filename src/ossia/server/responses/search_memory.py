"""What searches have found, for clients that keep nothing and send back no more than they were shown.

A turn may search and then call a function of the client's; with the function's output the client sends
the turn's items back, and the model must see again what it has read. Some clients drop everything
of a search but its action, even the id. So it is remembered by the id of the call that followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from ossia.server.reasoning_memory import ReasoningMemory
from ossia.server.responses.search_steps import STEP

JsonObject = dict[str, Any]

_CALLS: Final = frozenset({"function_call", "custom_tool_call"})
_SEARCH: Final = "web_search_call"


class SearchMemory:
    """Keeps the steps before calls; the longest unused go first."""

    def __init__(self) -> None:
        self._texts = ReasoningMemory()

    def put(self, call_id: str, steps: Sequence[JsonObject]) -> None:
        """Keep the steps that led to a call."""
        if steps:
            self._texts.put(call_id, orjson.dumps(list(steps)).decode())

    def get(self, call_id: object) -> list[JsonObject]:
        """The steps that led to a call, as far as they are still there."""
        text = self._texts.get(call_id) if isinstance(call_id, str) else None
        return [] if text is None else orjson.loads(text)

    def completed(self, items: Sequence[JsonObject]) -> list[JsonObject]:
        """Items with what their searches have found, where the client has left that out.

        Args:
            items: As the client sent them; those that the store knew have it already.
        """
        result: list[JsonObject] = []
        bare: list[int] = []  # places of searches of this turn without what they found
        known = False  # whether others have it
        for item in items:
            kind = item.get("type")
            if kind == _SEARCH:
                known |= STEP in item
                if STEP not in item:
                    bare.append(len(result))
            elif kind in _CALLS:
                steps = [] if known else self.get(item.get("call_id"))
                if len(steps) == len(bare):
                    for place, step in zip(bare, steps, strict=True):
                        result[place] = {**result[place], STEP: step}
                else:  # the client has dropped some, or all
                    result += [{"type": _SEARCH, STEP: step} for step in steps]
                bare, known = [], False
            elif item.get("role") == "user":
                bare, known = [], False
            result.append(item)
        return result
