"""ResponseFold: events of an answer to the events of a response's stream, and to the response."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from ossia.api.events import (
    Done,
    Ending,
    Event,
    MessageDone,
    ReasoningDelta,
    TextDelta,
    TokenDrawn,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from ossia.harmony import Channel
from ossia.server.api_error import ApiError
from ossia.server.responses import ids
from ossia.server.responses.event_log import EventLog
from ossia.server.responses.ids import IdMaker, new_id
from ossia.server.responses.logprobs import LogprobCollector
from ossia.server.responses.objects import usage_object
from ossia.server.responses.open_items import OpenCall, OpenItem, OpenMessage, OpenReasoning
from ossia.server.responses.open_search import OpenSearch
from ossia.server.responses.search_steps import STEP
from ossia.server.responses.searching import Searching
from ossia.server.responses.tools import CallableTool
from ossia.server.responses.visibility import Visibility
from ossia.server.responses.web_search import BROWSER_CALLS
from ossia.tokenizer import special

JsonObject = dict[str, Any]

COMMENTARY: Final = "commentary"
FINAL_ANSWER: Final = "final_answer"
_FAILURES: Final = frozenset(
    {"server_error", "rate_limit_exceeded", "invalid_prompt", "context_length_exceeded"}
)
"""Codes that the error of a failed response may have; clients know no others."""

TIMED_OUT: Final = 504
"""HTTP status of the error of a response whose time was up; it keeps what there is of it."""

_CUT_OFF: Final = frozenset({Ending.LENGTH, Ending.ABORT, Ending.DEADLINE})


class ResponseFold:
    """Folds an answer, whoever listens. Stream and object come from the same items.

    `begin`, then `push` for each event, or in place of the rest `fail` or `cancel`. Pieces of text
    that come between two calls of `take` share a delta.

    Args:
        response: The object before anything is answered; not changed.
        tools: Of the request, by the names that events give them.
        visible: How reasoning is shown.
        logprobs: Collects those of the answer's tokens; None if they are not wanted.
        searching: How calls of the browser and citations are shown; None if there is no browser.
        only_prefills: Nothing that the model writes is shown or counted.
        make_id: Gives ids.
        now: Gives seconds since 1970.

    Attributes:
        over: Whether nothing more will come.
        error: Why it failed.
    """

    def __init__(
        self,
        response: JsonObject,
        *,
        tools: Mapping[str, CallableTool] | None = None,
        visible: Visibility | None = None,
        logprobs: LogprobCollector | None = None,
        searching: Searching | None = None,
        only_prefills: bool = False,
        make_id: IdMaker = new_id,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.over = False
        self.error: ApiError | None = None
        self._make_id = make_id
        self._now = now
        self._response = {
            **response,
            "id": make_id(ids.RESPONSE),
            "created_at": int(now()),
            "output": [],
        }
        self._tools = tools or {}
        self._visible = visible or Visibility()
        self._logprobs = logprobs
        self._searching = searching
        self._log = EventLog()
        self._output: list[JsonObject] = []
        self._kept: list[JsonObject] = []
        self._item: OpenItem | None = None
        self._is_waiting = False  # in the queue
        self._is_ending = False  # the message is done; what comes next tells how
        self._last_token = -1
        self._only_prefills = only_prefills
        self._handlers: dict[type, Callable[[Any], None]] = (
            {Done: self._done} if only_prefills else self._all_handlers()
        )

    @property
    def response(self) -> JsonObject:
        """The response as it stands, as clients get it."""
        return {**self._response, "output": list(self._output)}

    @property
    def kept_response(self) -> JsonObject:
        """The same for the store: reasoning that is not shown is there, sealed."""
        return {**self._response, "output": list(self._kept)}

    def begin(self, *, queued: bool = False) -> None:
        """Emit the events that open a stream.

        Args:
            queued: The response waits in the background; `proceed` goes on.
        """
        self._is_waiting = True
        if queued:
            self._response["status"] = "queued"
        self._emit_lifecycle("response.created")
        if queued:
            self._emit_lifecycle("response.queued")
        else:
            self.proceed()

    def proceed(self) -> None:
        """The response is no longer queued, if it was."""
        if self._is_waiting:
            self._is_waiting = False
            self._response["status"] = "in_progress"
            self._emit_lifecycle("response.in_progress")

    def push(self, event: Event) -> None:
        """Take in what happened."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def take(self) -> list[JsonObject]:
        """The stream's events since the last time."""
        if self._item is not None:
            self._item.flush()
        return self._log.take()

    def fail(self, error: ApiError) -> None:
        """End it: something broke."""
        if self.over:
            return
        self._close_item("incomplete")
        self.error = error
        code = error.code if error.code in _FAILURES else "server_error"
        said = {"code": code, "message": error.message, "param": error.param}
        self._log.emit("error", **said, error={"type": error.kind, **said})
        self._end("failed", "response.failed", error={"code": code, "message": error.message})

    def cancel(self) -> None:
        """End it: nobody wants it any more. The stream has no event for this."""
        if not self.over:
            self._close_item("incomplete")
            self._end("cancelled", None)

    def _all_handlers(self) -> dict[type, Callable[[Any], None]]:
        return {
            TokenDrawn: self._token,
            ReasoningDelta: self._reasoning,
            TextDelta: self._text,
            ToolCallDelta: self._call_delta,
            MessageDone: self._message_done,
            ToolCall: self._call,
            ToolResult: self._result,
            Done: self._done,
        }

    def _token(self, event: TokenDrawn) -> None:
        self._last_token = event.token_id
        if self._is_ending:
            self._settle()
        if self._logprobs is not None:
            self._logprobs.push(event)

    def _reasoning(self, event: ReasoningDelta) -> None:
        if self._logprobs is not None:
            self._logprobs.drop()
        item = self._item
        if not isinstance(item, OpenReasoning):
            item = self._open_reasoning()
        item.write(event.text)

    def _text(self, event: TextDelta) -> None:
        phase = COMMENTARY if event.preamble else FINAL_ANSWER
        item = self._item
        if not isinstance(item, OpenMessage):
            item = self._open_message(phase)
        if self._logprobs is not None:
            item.add_logprobs(self._logprobs.take())
        item.write(event.text)

    def _call_delta(self, event: ToolCallDelta) -> None:
        if self._logprobs is not None:
            self._logprobs.drop()
        item = self._item
        if not isinstance(item, OpenCall | OpenSearch):
            item = self._open_call(event.name)
        item.write(event.arguments)

    def _message_done(self, event: MessageDone) -> None:
        message = event.message
        if self._item is None and message.recipient is None and message.channel == Channel.FINAL:
            self._open_message(FINAL_ANSWER)  # an empty answer is an answer
        # A call may be cut off, and so may anything that no token ended: what comes next tells.
        ended = special.is_special(self._last_token) and not self._is_call_open
        if ended:
            self._close_item("completed")
        else:
            self._is_ending = self._item is not None

    def _call(self, event: ToolCall) -> None:
        item = self._item
        if not isinstance(item, OpenCall | OpenSearch):
            item = self._open_call(event.name)
        if isinstance(item, OpenSearch):
            self._is_ending = False  # what comes next is its result
            item.search()
        else:
            self._close_item("completed")

    def _result(self, event: ToolResult) -> None:
        """What a tool gave that the server itself ran: an item that comes whole, or its end."""
        if isinstance(self._item, OpenSearch):
            self._item.end(event)
            self._close_item("failed" if event.failed else "completed")
            return
        self._settle()
        calls = [item for item in self._output if item["type"].endswith("_call")]
        item = {
            "id": self._make_id(ids.FUNCTION_OUTPUT),
            "type": "function_call_output",
            "status": "completed",
            "call_id": calls[-1]["call_id"] if calls else event.call_id,
            "output": event.output,
        }
        index = len(self._output)
        self._log.emit("response.output_item.added", output_index=index, item=item)
        self._log.emit("response.output_item.done", output_index=index, item=item)
        self._output.append(item)
        self._kept.append(item)

    def _done(self, event: Done) -> None:
        ending = event.finish_reason
        self._close_item("incomplete" if ending in _CUT_OFF or self._is_call_open else "completed")
        usage = event.usage
        if self._only_prefills:
            ending = Ending.STOP
            usage = Usage(input_tokens=usage.input_tokens, cached_tokens=usage.cached_tokens)
        self._response["usage"] = usage_object(usage)
        match ending:
            case Ending.LENGTH:
                details = {"reason": "max_output_tokens"}
                self._end("incomplete", "response.incomplete", incomplete_details=details)
            case Ending.DEADLINE:
                self.fail(
                    ApiError(
                        "the request's time was up; ask for fewer tokens",
                        status=TIMED_OUT,
                        kind="server_error",
                        code="server_error",
                    )
                )
            case Ending.ABORT:
                self.cancel()
            case _:
                self._end("completed", "response.completed", completed_at=int(self._now()))

    @property
    def _is_call_open(self) -> bool:
        return isinstance(self._item, OpenCall | OpenSearch)

    def _settle(self) -> None:
        """More has come after the message: it was not cut off, unless it is a call."""
        self._close_item("incomplete" if self._is_call_open else "completed")

    def _open_reasoning(self) -> OpenReasoning:
        self._settle()
        visible = self._visible
        self._item = item = OpenReasoning(
            self._log,
            len(self._output),
            self._make_id(ids.REASONING),
            raw=visible.raw,
            summary=visible.summary,
            seal=visible.seal,
        )
        return item

    def _open_message(self, phase: str) -> OpenMessage:
        self._settle()
        citations = None if self._searching is None else self._searching.citations()
        self._item = item = OpenMessage(
            self._log, len(self._output), self._make_id(ids.MESSAGE), phase, citations
        )
        return item

    def _open_call(self, name: str) -> OpenCall | OpenSearch:
        self._settle()
        if self._searching is not None and name in BROWSER_CALLS:
            self._item = search = OpenSearch(
                self._log,
                len(self._output),
                self._make_id(ids.WEB_SEARCH),
                name=name,
                shows_sources=self._searching.shows_sources,
            )
            return search
        tool = self._tools.get(name)
        is_custom = tool is not None and tool.is_custom
        self._item = item = OpenCall(
            self._log,
            len(self._output),
            self._make_id(ids.CUSTOM_CALL if is_custom else ids.FUNCTION_CALL),
            call_id=self._make_id(ids.CALL),
            name=name if tool is None else tool.name,
            namespace=None if tool is None else tool.namespace,
            is_custom=is_custom,
        )
        return item

    def _close_item(self, status: str) -> None:
        self._is_ending = False
        if self._item is not None:
            item = self._item.close(status)
            self._output.append(item)
            kept = self._visible.kept_item(item, self._item.text)
            self._kept.append(self._item.kept(kept))
            if self._searching is not None and "call_id" in item:
                steps = [one[STEP] for one in self._kept if STEP in one]
                self._searching.memory.put(item["call_id"], steps)
            self._item = None

    def _emit_lifecycle(self, kind: str) -> None:
        self._log.emit(kind, response=self.response)

    def _end(self, status: str, kind: str | None, **changes: object) -> None:
        self.over = True
        self._response.update(status=status, **changes)
        if kind is not None:
            self._emit_lifecycle(kind)
