"""Output items that are being written: each emits its events and ends as a JSON object."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from ossia.server.responses.citations import CitationReader
from ossia.server.responses.event_log import EventLog

JsonObject = dict[str, Any]


class OpenItem(ABC):
    """An item that is not complete yet.

    What is written goes out as one delta at each `flush`.

    Args:
        log: Where its events go.
        index: Its place in the output.
        item_id: Its id.
    """

    def __init__(self, log: EventLog, index: int, item_id: str) -> None:
        self._log = log
        self._index = index
        self._id = item_id
        self._texts: list[str] = []
        self._fresh: list[str] = []

    @property
    def text(self) -> str:
        """All that went out."""
        return "".join(self._texts)

    def write(self, text: str) -> None:
        """Add a piece."""
        self._fresh.append(text)

    def flush(self) -> None:
        """Emit what was written since the last time."""
        if self._fresh:
            delta = "".join(self._fresh)
            self._fresh.clear()
            self._texts.append(delta)
            self._emit_delta(delta)

    def close(self, status: str) -> JsonObject:
        """Emit the end.

        Args:
            status: `completed` or `incomplete`; `failed` too for what the server runs.

        Returns:
            The item.
        """
        self.flush()
        item = self._finish(self.text, status)
        self._log.emit("response.output_item.done", output_index=self._index, item=item)
        return item

    def kept(self, item: JsonObject) -> JsonObject:
        """The item as it goes to the store, made of what `close` gave."""
        return item

    def _begin(self, item: JsonObject) -> None:
        self._log.emit("response.output_item.added", output_index=self._index, item=item)

    def _emit(self, kind: str, **fields: object) -> None:
        self._log.emit(kind, item_id=self._id, output_index=self._index, **fields)

    @abstractmethod
    def _emit_delta(self, delta: str) -> None: ...

    @abstractmethod
    def _finish(self, text: str, status: str) -> JsonObject:
        """Emit all that comes before `output_item.done`, and give the item."""


class OpenMessage(OpenItem):
    """Words to the user.

    Args:
        log: Where its events go.
        index: Its place in the output.
        item_id: Its id.
        phase: `commentary` before a call, `final_answer` for the answer.
        citations: Reads them, if there is something to cite.
    """

    def __init__(
        self,
        log: EventLog,
        index: int,
        item_id: str,
        phase: str,
        citations: CitationReader | None = None,
    ) -> None:
        super().__init__(log, index, item_id)
        self._phase = phase
        self._citations = citations
        self._num_cited = 0
        self._logprobs: list[JsonObject] = []
        self._fresh_logprobs: list[JsonObject] = []
        self._begin(self._item("in_progress", []))
        self._emit("response.content_part.added", content_index=0, part=_text_part("", [], []))

    def write(self, text: str) -> None:
        """Add a piece; a citation waits until it is whole."""
        if self._citations is not None:
            text = self._citations.push(text)
        if text:
            super().write(text)

    def close(self, status: str) -> JsonObject:
        """Emit the end."""
        if self._citations is not None and (held := self._citations.flush()):
            super().write(held)
        return super().close(status)

    def add_logprobs(self, logprobs: list[JsonObject]) -> None:
        """Log-probabilities of the tokens of the pieces written last."""
        self._fresh_logprobs += logprobs

    def _emit_delta(self, delta: str) -> None:
        logprobs, self._fresh_logprobs = self._fresh_logprobs, []
        self._logprobs += logprobs
        self._emit("response.output_text.delta", content_index=0, delta=delta, logprobs=logprobs)
        for annotation in self._annotations[self._num_cited :]:
            self._emit(
                "response.output_text.annotation.added",
                content_index=0,
                annotation_index=self._num_cited,
                annotation=annotation,
            )
            self._num_cited += 1

    @property
    def _annotations(self) -> list[JsonObject]:
        return [] if self._citations is None else self._citations.annotations

    def _finish(self, text: str, status: str) -> JsonObject:
        part = _text_part(text, list(self._annotations), self._logprobs)
        self._emit("response.output_text.done", content_index=0, text=text, logprobs=self._logprobs)
        self._emit("response.content_part.done", content_index=0, part=part)
        return self._item(status, [part])

    def _item(self, status: str, content: list[JsonObject]) -> JsonObject:
        return {
            "id": self._id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "phase": self._phase,
            "content": content,
        }


class OpenReasoning(OpenItem):
    """What the model thinks.

    Args:
        log: Where its events go.
        index: Its place in the output.
        item_id: Its id.
        raw: Show it as content.
        summary: Show it, word for word, as a summary.
        seal: Gives what the client is to carry in `encrypted_content`; None leaves that out.
    """

    def __init__(
        self,
        log: EventLog,
        index: int,
        item_id: str,
        *,
        raw: bool,
        summary: bool,
        seal: Callable[[str], str] | None,
    ) -> None:
        super().__init__(log, index, item_id)
        self._raw = raw
        self._summary = summary
        self._seal = seal
        self._begin(self._item("in_progress", [], []))
        if raw:
            part = {"type": "reasoning_text", "text": ""}
            self._emit("response.content_part.added", content_index=0, part=part)
        if summary:
            part = {"type": "summary_text", "text": ""}
            self._emit("response.reasoning_summary_part.added", summary_index=0, part=part)

    def _emit_delta(self, delta: str) -> None:
        if self._raw:
            self._emit("response.reasoning_text.delta", content_index=0, delta=delta)
        if self._summary:
            self._emit("response.reasoning_summary_text.delta", summary_index=0, delta=delta)

    def _finish(self, text: str, status: str) -> JsonObject:
        content: list[JsonObject] = []
        summary: list[JsonObject] = []
        if self._raw:
            part = {"type": "reasoning_text", "text": text}
            content.append(part)
            self._emit("response.reasoning_text.done", content_index=0, text=text)
            self._emit("response.content_part.done", content_index=0, part=part)
        if self._summary:
            part = {"type": "summary_text", "text": text}
            summary.append(part)
            self._emit("response.reasoning_summary_text.done", summary_index=0, text=text)
            cut = {} if status == "completed" else {"status": status}
            self._emit("response.reasoning_summary_part.done", summary_index=0, part=part, **cut)
        item = self._item(status, summary, content)
        if self._seal is not None:
            item["encrypted_content"] = self._seal(text)
        return item

    def _item(
        self, status: str, summary: list[JsonObject], content: list[JsonObject]
    ) -> JsonObject:
        return {
            "id": self._id,
            "type": "reasoning",
            "status": status,
            "summary": summary,
            "content": content,
        }


class OpenCall(OpenItem):
    """A call of a function, or of a tool of free text.

    Args:
        log: Where its events go.
        index: Its place in the output.
        item_id: Its id.
        call_id: By which its output will name it.
        name: What is called.
        namespace: The group that the client has put it in.
        is_custom: Whether it takes free text.
    """

    def __init__(
        self,
        log: EventLog,
        index: int,
        item_id: str,
        *,
        call_id: str,
        name: str,
        namespace: str | None,
        is_custom: bool,
    ) -> None:
        super().__init__(log, index, item_id)
        self._call_id = call_id
        self._name = name
        self._namespace = namespace
        self._is_custom = is_custom
        self._begin(self._item("in_progress", ""))

    def _emit_delta(self, delta: str) -> None:
        if self._is_custom:
            self._emit("response.custom_tool_call_input.delta", delta=delta)
        else:
            self._emit("response.function_call_arguments.delta", delta=delta)

    def _finish(self, text: str, status: str) -> JsonObject:
        if self._is_custom:
            self._emit("response.custom_tool_call_input.done", input=text)
        else:
            self._emit("response.function_call_arguments.done", name=self._name, arguments=text)
        return self._item(status, text)

    def _item(self, status: str, text: str) -> JsonObject:
        item: JsonObject = {
            "id": self._id,
            "type": "custom_tool_call" if self._is_custom else "function_call",
            "status": status,
            "call_id": self._call_id,
            "name": self._name,
            "input" if self._is_custom else "arguments": text,
        }
        if self._namespace is not None:
            item["namespace"] = self._namespace
        return item


def _text_part(text: str, annotations: list[JsonObject], logprobs: list[JsonObject]) -> JsonObject:
    return {
        "type": "output_text",
        "text": text,
        "annotations": annotations,
        "logprobs": logprobs,
    }
