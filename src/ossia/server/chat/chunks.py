"""ChunkWriter: pieces of choices as the events of a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from ossia.api.events import Usage
from ossia.server.chat.choice import ChoiceFold, Piece, PieceKind
from ossia.server.chat.completion import ChatIdentity
from ossia.server.chat.intake import ChatPlan
from ossia.server.sse import DONE
from ossia.server.usage import usage_object, usage_of_choices

JsonObject = dict[str, Any]
Numbered = tuple[int, Piece]


class ChunkWriter:
    """Writes chunks; what comes at once for the same part of a choice shares one.

    Everything but the new text is made in advance: this is run for every token.

    Args:
        plan: Of the request.
        identity: Of the completion.
        folds: The choices; their counts are shown where they are asked for.
        prompt_tokens: For counts in each chunk; None shows none before the end.
    """

    def __init__(
        self,
        plan: ChatPlan,
        identity: ChatIdentity,
        folds: Sequence[ChoiceFold],
        prompt_tokens: int | None,
    ) -> None:
        self._as_functions = plan.as_functions
        self._folds = folds
        self._prompt_tokens = prompt_tokens
        options = plan.body.stream_options
        self._ends_with_usage = options is not None and bool(options.include_usage)
        members = orjson.dumps(identity.members("chat.completion.chunk"))
        self._head = b"data: " + members[:-1] + b',"choices":['
        self._usage = b"]"
        if self._ends_with_usage:
            self._usage = b'],"usage":null'

    def opening(self) -> bytes:
        """The first chunks: whose turn it is."""
        delta = b'{"role":"assistant","content":"","refusal":null}'
        return b"".join(self._chunk(index, delta) for index in range(len(self._folds)))

    def write(self, pieces: Sequence[Numbered]) -> bytes:
        """Chunks for pieces that are ready together."""
        if len(pieces) > 1:
            pieces = list(_merged(pieces))
        return b"".join([self._piece(index, piece) for index, piece in pieces])

    def closing(self) -> bytes:
        """The end of the stream, once all choices have ended."""
        if not self._ends_with_usage:
            return DONE
        total = usage_object(usage_of_choices([fold.usage for fold in self._folds]))
        return self._head + b'],"usage":' + orjson.dumps(total) + b"}\n\n" + DONE

    def _piece(self, index: int, piece: Piece) -> bytes:
        match piece.kind:
            case PieceKind.CONTENT:
                delta = b'{"content":' + orjson.dumps(piece.text) + b"}"
                return self._chunk(index, delta, logprobs=piece.logprobs)
            case PieceKind.REASONING:
                text = orjson.dumps(piece.text)
                return self._chunk(
                    index, b'{"reasoning":' + text + b',"reasoning_content":' + text + b"}"
                )
            case PieceKind.CALL:
                deltas = map(orjson.dumps, self._call_deltas(piece))
                return b"".join(self._chunk(index, delta) for delta in deltas)
            case PieceKind.END:
                return self._chunk(index, b"{}", finish=self._folds[index].finish_reason)

    def _call_deltas(self, piece: Piece) -> Iterator[JsonObject]:
        call = piece.call
        assert call is not None
        if self._as_functions:
            if piece.opens:
                yield {"function_call": {"name": call.name, "arguments": ""}}
            if piece.text:
                yield {"function_call": {"arguments": piece.text}}
            return
        kind, field = ("custom", "input") if call.is_custom else ("function", "arguments")
        if piece.opens:
            first = {"index": call.index, "id": call.call_id, "type": kind}
            yield {"tool_calls": [{**first, kind: {"name": call.name, field: ""}}]}
        if piece.text:
            yield {"tool_calls": [{"index": call.index, kind: {field: piece.text}}]}

    def _chunk(
        self,
        index: int,
        delta: bytes,
        *,
        logprobs: list[JsonObject] | None = None,
        finish: str | None = None,
    ) -> bytes:
        shown = b"null"
        if logprobs is not None:
            shown = orjson.dumps({"content": logprobs, "refusal": None})
        reason = b"null" if finish is None else b'"' + finish.encode() + b'"'
        return b"".join(
            (
                self._head,
                b'{"index":%d,"delta":' % index,
                delta,
                b',"logprobs":',
                shown,
                b',"finish_reason":',
                reason,
                b"}",
                self._usage if self._prompt_tokens is None else self._running_usage(),
                b"}\n\n",
            )
        )

    def _running_usage(self) -> bytes:
        drawn = sum(fold.num_tokens for fold in self._folds)
        usage = Usage(input_tokens=self._prompt_tokens or 0, output_tokens=drawn)
        return b'],"usage":' + orjson.dumps(usage_object(usage))


def _merged(pieces: Sequence[Numbered]) -> Iterator[Numbered]:
    """Neighbours that go on with the same part of the same choice, as one."""
    held_index, held = pieces[0]
    for index, piece in pieces[1:]:
        if index == held_index and piece.kind == held.kind and not piece.opens:
            logprobs = held.logprobs
            if logprobs is not None:
                logprobs = [*logprobs, *(piece.logprobs or ())]
            held = held._replace(text=held.text + piece.text, logprobs=logprobs)
        else:
            yield held_index, held
            held_index, held = index, piece
    yield held_index, held
