"""TextFold: the tokens of one continuation, folded to a choice of a text completion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ossia.api.events import Usage
from ossia.api.stop import StopStrings
from ossia.server.api_error import ApiError
from ossia.server.completions.intake import CompletionPlan
from ossia.server.logprobs import finite
from ossia.tokenizer import Tokenizer
from ossia.tokenizer.detokenizer import IncrementalDetokenizer
from ossia.types import FinishReason, Request, TokenLogprob, TokenOutput

JsonObject = dict[str, Any]

_FINISH_REASONS = {
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.DEADLINE: "length",  # the nearest that clients know: it was cut off
}


@dataclass(slots=True)
class TokenTable:
    """Log-probabilities in the form of text completions: a column for each property."""

    tokens: list[str] = field(default_factory=list[str])
    token_logprobs: list[float | None] = field(default_factory=list[float | None])
    top_logprobs: list[dict[str, float] | None] = field(
        default_factory=list[dict[str, float] | None]
    )
    text_offset: list[int] = field(default_factory=list[int])

    def add(self, token: str, offset: int, logprob: TokenLogprob | None, top: JsonObject) -> None:
        """Append a token."""
        self.tokens.append(token)
        self.text_offset.append(offset)
        self.token_logprobs.append(None if logprob is None else finite(logprob.logprob))
        self.top_logprobs.append(top if logprob is not None else None)

    def to_dict(self, begin: int = 0) -> JsonObject:
        """The JSON form, from some token on."""
        return {
            "tokens": self.tokens[begin:],
            "token_logprobs": self.token_logprobs[begin:],
            "top_logprobs": self.top_logprobs[begin:],
            "text_offset": self.text_offset[begin:],
        }


class TextFold:
    """Takes in the outputs of one continuation.

    Args:
        plan: Of the whole request.
        request: Of this continuation.
        tokenizer: Of the model.

    Attributes:
        usage: Token counts so far.
        finish_reason: Why it ended, in the API's words; None while it goes on.
        table: Log-probabilities; None if they are not wanted.
    """

    def __init__(self, plan: CompletionPlan, request: Request, tokenizer: Tokenizer) -> None:
        body = plan.body
        self.usage = Usage(input_tokens=len(request.prompt_ids))
        self.finish_reason: str | None = None
        self.table = TokenTable() if body.logprobs is not None else None
        self._request = request
        self._tokenizer = tokenizer
        self._max_tokens = plan.max_tokens
        self._stop_ids = frozenset(request.sampling.stop_token_ids)
        self._echo = bool(body.echo)
        shows_special = body.skip_special_tokens is False
        self._detokenizer = IncrementalDetokenizer(tokenizer, show_special=shows_special)
        self._stop = StopStrings(body.stop_strings)
        self._texts: list[str] = []
        self._offset = 0
        self._begun = False

    @property
    def over(self) -> bool:
        """Whether no more outputs are wanted."""
        return self.finish_reason is not None

    def push(self, output: TokenOutput) -> str:
        """Take in an output; the text that it adds.

        Raises:
            ApiError: the continuation was broken off.
        """
        text = "" if self._begun else self._begin(output)
        if output.token_id is not None:
            text += self._token(output)
        if output.finish_reason is not None and not self.over:
            text += self._end(output)
        if text:
            self._texts.append(text)
        return text

    def to_dict(self, index: int) -> JsonObject:
        """The choice."""
        return {
            "index": index,
            "text": "".join(self._texts),
            "logprobs": None if self.table is None else self.table.to_dict(),
            "finish_reason": self.finish_reason,
        }

    def _begin(self, output: TokenOutput) -> str:
        """The prompt, if it is to be shown."""
        self._begun = True
        self.usage += Usage(cached_tokens=output.cached_tokens)
        if not self._echo:
            return ""
        ids = self._request.prompt_ids
        logprobs = output.prompt_logprobs or (None,) * len(ids)
        text = ""
        for token_id, logprob in zip(ids, logprobs, strict=True):
            self._note(token_id, logprob)
            text += self._shown(token_id)
        rest = self._detokenizer.flush()
        self._offset += len(rest)
        return text + rest

    def _token(self, output: TokenOutput) -> str:
        token_id = output.token_id
        assert token_id is not None
        self.usage += Usage(output_tokens=1)
        if self._max_tokens == 0:
            self.finish_reason = "length"
            return ""
        if output.finish_reason is FinishReason.STOP and token_id in self._stop_ids:
            return ""
        self._note(token_id, output.logprob)
        text = self._stop.push(self._shown(token_id))
        if self._stop.found is not None:
            self.finish_reason = "stop"
        return text

    def _shown(self, token_id: int) -> str:
        text = self._detokenizer.push(token_id)
        self._offset += len(text)
        return text

    def _note(self, token_id: int, logprob: TokenLogprob | None) -> None:
        if self.table is None:
            return
        top = {self._name(one): finite(value) for one, value in (logprob.top if logprob else ())}
        self.table.add(self._name(token_id), self._offset, logprob, top)

    def _name(self, token_id: int) -> str:
        return self._tokenizer.token_bytes(token_id).decode(errors="replace")

    def _end(self, output: TokenOutput) -> str:
        assert output.finish_reason is not None
        reason = _FINISH_REASONS.get(output.finish_reason)
        if reason is None:
            why = output.error or "it was broken off by the server"
            raise ApiError.internal(f"the completion failed: {why}")
        self.finish_reason = reason
        return self._stop.push(self._detokenizer.flush()) + self._stop.flush()
