"""The words that layers share: how to sample, what to run, what came out. No torch, no text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, cast

from ossia.errors import RequestError


class FinishReason(StrEnum):
    """Why a sequence ended."""

    STOP = "stop"  # a stop token was produced, or the layer above found a stop string
    LENGTH = "length"  # max_tokens or the model's context length was reached
    ABORT = "abort"  # the caller went away
    DEADLINE = "deadline"  # the request's time was up
    ERROR = "error"  # the engine failed while serving it


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How tokens are drawn; the defaults are OpenAI's recommendation for gpt-oss.

    Args:
        temperature: 0 is greedy.
        top_p: Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
        top_k: Keep this many most likely tokens; 0 keeps all.
        min_p: Drop tokens less likely than this times the most likely one.
        seed: Makes the request repeatable, whatever else runs beside it.
        repetition_penalty: Divides positive and multiplies negative logits of tokens seen in
            prompt or output (Keskar et al. 2019, arXiv:1909.05858); 1 is off.
        presence_penalty: Subtracted once from logits of tokens seen in the output.
        frequency_penalty: Subtracted per occurrence in the output.
        logit_bias: Token id to a value in [-100, 100] added to its logit.
        stop_token_ids: Producing one of these ends the sequence; it is part of the output.
        max_tokens: Output length limit; None means up to the model's context.
        min_tokens: Stop tokens cannot be produced before this many tokens.
        n: How many independent continuations to draw.
        logprobs: How many most likely tokens to report beside each drawn one; None reports none,
            0 only the drawn token's.
        prompt_logprobs: The same for the prompt's tokens (the first has none).

    Raises:
        RequestError: a value is out of range; names the field.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])
    stop_token_ids: tuple[int, ...] = ()
    max_tokens: int | None = None
    min_tokens: int = 0
    n: int = 1
    logprobs: int | None = None
    prompt_logprobs: int | None = None

    def __post_init__(self) -> None:
        for name, low, high in _FLOAT_RANGES:
            value = getattr(self, name)
            if not (isinstance(value, int | float) and low <= value <= high):
                raise RequestError(f"{value!r} is not between {low} and {high}", field=name)
        for name, low, high in _INTEGER_RANGES:
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            if not (type(value) is int and low <= value <= high):
                raise RequestError(f"{value!r} is not an integer from {low} to {high}", field=name)
        object.__setattr__(
            self, "stop_token_ids", _token_ids(self.stop_token_ids, "stop_token_ids")
        )
        _check_bias(self.logit_bias)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise RequestError(
                f"{self.min_tokens} exceeds max_tokens={self.max_tokens}", field="min_tokens"
            )


_FLOAT_RANGES = (
    ("temperature", 0.0, 100.0),
    ("top_p", 1e-9, 1.0),
    ("min_p", 0.0, 1.0),
    ("repetition_penalty", 1e-9, 100.0),
    ("presence_penalty", -2.0, 2.0),
    ("frequency_penalty", -2.0, 2.0),
)
_MAX_INT = 2**63 - 1
_INTEGER_RANGES = (
    ("top_k", 0, _MAX_INT),
    ("seed", 0, _MAX_INT),
    ("max_tokens", 1, _MAX_INT),
    ("min_tokens", 0, _MAX_INT),
    ("n", 1, 128),
    ("logprobs", 0, 100),
    ("prompt_logprobs", 0, 100),
)
_OPTIONAL = frozenset({"seed", "max_tokens", "logprobs", "prompt_logprobs"})


def _check_bias(logit_bias: object) -> None:
    if not isinstance(logit_bias, Mapping):
        raise RequestError(f"{logit_bias!r} does not map token ids to numbers", field="logit_bias")
    for token_id, bias in cast("Mapping[object, object]", logit_bias).items():
        if not (isinstance(bias, int | float) and -100 <= bias <= 100):
            raise RequestError(
                f"{bias!r} for token {token_id} is not between -100 and 100", field="logit_bias"
            )


def _token_ids(values: object, field: str) -> tuple[int, ...]:
    """A tuple of whatever can be gone through, once; admission knows which ids there are."""
    if not isinstance(values, Iterable):
        raise RequestError(f"{values!r} is no sequence of token ids", field=field)
    return tuple(cast("Iterable[int]", values))


class TokenMask(Protocol):
    """Says which tokens may come next in one continuation; keeps its own place in the text."""

    def allowed(self) -> bytes | bytearray | memoryview | None:
        """The set of allowed ids: bit i % 8 of byte i // 8 stands for id i; None allows all.

        Ids behind the end are not allowed. Asked once before each token. `bytes` are taken for sets
        that come again, and what was made of them is kept; sets that seldom do are better a view.
        """
        ...

    def accept(self, token_id: int) -> None:
        """Move on behind the token that was drawn."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt to continue.

    Args:
        request_id: Unique among live requests; chosen by the caller.
        prompt_ids: At least one token id.
        sampling: How to draw.
        deadline: `time.monotonic()` value after which the request ends with DEADLINE.
        priority: Lower runs first; equal priorities are served fairly.
        cache_salt: Only requests of the same salt share what was computed of their prompts.
        make_mask: Called with the index of each continuation for what restricts its tokens; an
            exception of the mask ends that continuation with ERROR.

    Raises:
        RequestError: a field is of the wrong type; names the field.
    """

    request_id: str
    prompt_ids: tuple[int, ...]
    sampling: SamplingParams = field(default_factory=SamplingParams)
    deadline: float = math.inf
    priority: int = 0
    cache_salt: str = ""
    make_mask: Callable[[int], TokenMask | None] | None = None

    def __post_init__(self) -> None:
        # Checked here because the engine sorts by these: one bad value would fail all requests.
        object.__setattr__(self, "prompt_ids", _token_ids(self.prompt_ids, "prompt_ids"))
        for name, kind, what in _REQUEST_TYPES:
            value = getattr(self, name)
            if not isinstance(value, kind) or value != value:  # NaN
                raise RequestError(f"{value!r} is no {what}", field=name)


_REQUEST_TYPES = (
    ("request_id", str, "string"),
    ("deadline", int | float, "time in seconds"),
    ("priority", int, "integer"),
    ("cache_salt", str, "string"),
)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Log-probability of one token under the untempered, unpenalised distribution.

    `top` holds the most likely (token id, logprob) pairs, best first.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOutput:
    """What one engine step produced for one continuation of a request.

    `index` counts the continuations of a request with n > 1. The last output of a continuation
    has a `finish_reason`; it may carry no token (abort, deadline, error). `prompt_logprobs` come with
    the first token of each continuation.
    """

    request_id: str
    index: int = 0
    token_id: int | None = None
    logprob: TokenLogprob | None = None
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    finish_reason: FinishReason | None = None
    error: str | None = None
    cached_tokens: int = 0  # prompt tokens served from the prefix cache


ProgressCallback = Callable[[str, int, int], None]
"""Called with (what, bytes or items done, total) by anything long; the command line draws bars."""
