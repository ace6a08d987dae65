"""TextChunkWriter: the texts of continuations as the events of a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from ossia.server.completions.choice import TextFold
from ossia.server.completions.schemas import CompletionRequest
from ossia.server.sse import DONE
from ossia.server.usage import usage_object, usage_of_choices

JsonObject = dict[str, Any]


class TextPiece(NamedTuple):
    """What has come of a choice.

    Args:
        choice: Its number.
        text: What is added.
        num_tokens: Entries that its table of log-probabilities has by now.
        finish_reason: If this is its end.
    """

    choice: int
    text: str
    num_tokens: int
    finish_reason: str | None


class TextChunkWriter:
    """Writes chunks; what comes at once for the same choice shares one.

    Args:
        body: The request.
        members: Which each chunk has: whose it is.
        folds: The choices.
        num_choices: How many belong to each prompt.
    """

    def __init__(
        self,
        body: CompletionRequest,
        members: JsonObject,
        folds: Sequence[TextFold],
        num_choices: int,
    ) -> None:
        self._folds = folds
        self._num_choices = num_choices
        options = body.stream_options
        self._ends_with_usage = options is not None and bool(options.include_usage)
        self._runs_usage = options is not None and bool(options.continuous_usage_stats)
        self._head = b"data: " + orjson.dumps(members)[:-1] + b',"choices":['
        self._shown = [0] * len(folds)

    def write(self, pieces: Sequence[TextPiece]) -> bytes:
        """Chunks for pieces that are ready together."""
        latest: dict[int, TextPiece] = {}
        for piece in pieces:
            held = latest.get(piece.choice)
            latest[piece.choice] = (
                piece if held is None else piece._replace(text=held.text + piece.text)
            )
        return b"".join(map(self._chunk, latest.values()))

    def closing(self) -> bytes:
        """The end of the stream, once all choices have ended."""
        if not self._ends_with_usage:
            return DONE
        return self._head + b'],"usage":' + self._usage() + b"}\n\n" + DONE

    def _chunk(self, piece: TextPiece) -> bytes:
        table = self._folds[piece.choice].table
        logprobs = None
        if table is not None:
            begin, self._shown[piece.choice] = self._shown[piece.choice], piece.num_tokens
            logprobs = table.to_dict(begin)
        choice = {
            "index": piece.choice,
            "text": piece.text,
            "logprobs": logprobs,
            "finish_reason": piece.finish_reason,
        }
        usage = b"]"
        if self._runs_usage:
            usage = b'],"usage":' + self._usage()
        elif self._ends_with_usage:
            usage = b'],"usage":null'
        return self._head + orjson.dumps(choice) + usage + b"}\n\n"

    def _usage(self) -> bytes:
        return orjson.dumps(usage_of_texts(self._folds, self._num_choices))


def usage_of_texts(folds: Sequence[TextFold], num_choices: int) -> JsonObject:
    """Of all choices together; each prompt counts once."""
    by_prompt = [
        usage_of_choices([fold.usage for fold in folds[begin : begin + num_choices]])
        for begin in range(0, len(folds), num_choices)
    ]
    total = by_prompt[0]
    for usage in by_prompt[1:]:
        total += usage
    return usage_object(total)
