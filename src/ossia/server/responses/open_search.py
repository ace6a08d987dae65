"""OpenSearch: a call of the browser that is being written or run, as an output item."""

from __future__ import annotations

from typing import Any, Final

from ossia.api.events import ToolResult
from ossia.server.responses.event_log import EventLog
from ossia.server.responses.open_items import JsonObject, OpenItem
from ossia.server.responses.search_steps import STEP, kept_step
from ossia.server.responses.web_search import FIND, OPEN, SEARCH

_FIRST_ACTIONS: Final[dict[str, JsonObject]] = {
    SEARCH: {"type": "search"},
    OPEN: {"type": "open_page"},
    FIND: {"type": "find_in_page", "pattern": "", "url": ""},
}


class OpenSearch(OpenItem):
    """A web search, a page that is opened, or a text that is looked for in one.

    The client sees nothing of the arguments while they are written.

    Args:
        log: Where its events go.
        index: Its place in the output.
        item_id: Its id.
        name: What is called.
        shows_sources: Whether the client wants to know what a search has found.
    """

    def __init__(
        self, log: EventLog, index: int, item_id: str, *, name: str, shows_sources: bool
    ) -> None:
        super().__init__(log, index, item_id)
        self._action = dict(_FIRST_ACTIONS[name])
        self._shows_sources = shows_sources
        self._result: ToolResult | None = None
        self._begin(self._item("in_progress"))
        self._emit("response.web_search_call.in_progress")

    def search(self) -> None:
        """The call is complete, and is run now."""
        self.flush()
        self._emit("response.web_search_call.searching")

    def end(self, result: ToolResult) -> None:
        """Take in what came of it, before it is closed."""
        self._result = result
        if result.about is not None:
            self._action |= self._outcome(result.about)

    def kept(self, item: JsonObject) -> JsonObject:
        """The item for the store: with what the model read."""
        if self._result is None:
            return item
        return {**item, STEP: kept_step(self.text, self._result)}

    def _emit_delta(self, delta: str) -> None:
        pass

    def _finish(self, text: str, status: str) -> JsonObject:
        if status == "completed":
            self._emit("response.web_search_call.completed")
        return self._item(status)

    def _item(self, status: str) -> JsonObject:
        return {
            "id": self._id,
            "type": "web_search_call",
            "status": status,
            "action": dict(self._action),
        }

    def _outcome(self, step: Any) -> JsonObject:  # noqa: ANN401 - a Step, which events do not know
        match self._action["type"]:
            case "search" if step.query is not None:
                outcome: JsonObject = {"query": step.query, "queries": [step.query]}
                if self._shows_sources:
                    outcome["sources"] = [{"type": "url", "url": url} for url in step.found]
                return outcome
            case "find_in_page":
                return {"pattern": step.pattern or "", "url": step.url or ""}
            case "open_page":
                return {"url": step.url}
            case _:
                return {}
