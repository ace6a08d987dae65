"""SamplingParams: how to sample, in vLLM's words."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ossia.api.offline.structured_outputs import StructuredOutputsParams
from ossia.api.stop import StopStrings
from ossia.errors import RequestError
from ossia.types import SamplingParams as EngineParams

_ADVICE = {
    "best_of": "draw n and choose yourself",
    "logits_processors": "use GptOssForCausalLM.generate, which takes them",
    "guided_decoding": "use structured_outputs",
    "output_kind": "whole outputs are given",
    "extra_args": "leave it out",
}


@dataclass(kw_only=True)
class SamplingParams:
    """How an `LLM` continues a prompt; names and defaults are vLLM's.

    Args:
        n: Continuations of each prompt.
        best_of: Not supported.
        presence_penalty: Subtracted from logits of tokens that the output holds; from -2 to 2.
        frequency_penalty: The same for each time it holds them; from -2 to 2.
        repetition_penalty: Divides positive and multiplies negative logits of tokens that prompt or
            output hold; 1 is off.
        temperature: 0 is greedy.
        top_p: Draw from the likeliest tokens of this total probability.
        top_k: Draw from this many likeliest tokens; 0 and -1 mean all.
        min_p: Drop tokens less likely than this times the likeliest.
        seed: Makes the request repeatable; -1 is None.
        stop: Strings that end the text.
        stop_token_ids: Tokens that end it, beside those of the checkpoint.
        bad_words: Words that are not written.
        include_stop_str_in_output: Whether what ended the text is part of it.
        ignore_eos: Whether to go on behind the checkpoint's end tokens.
        max_tokens: Of output; None means up to the context's end.
        min_tokens: Of output before it may end.
        logprobs: How many likely tokens to report beside each; None none.
        prompt_logprobs: The same for the prompt.
        detokenize: Whether to make text; without, there are no stop strings.
        skip_special_tokens: Whether text leaves special tokens out.
        spaces_between_special_tokens: Makes no difference with this tokenizer.
        logits_processors: Not supported.
        truncate_prompt_tokens: Keep the last tokens of a prompt; -1 as many as the model takes.
        output_kind: Not supported.
        guided_decoding: Not supported; the older name of the next.
        structured_outputs: What the output must look like.
        logit_bias: Token id to a value from -100 to 100 that is added to its logit.
        allowed_token_ids: Nothing else is drawn.
        extra_args: Not supported.

    Raises:
        RequestError: a value that is out of range or not supported; names the field.
    """

    n: int = 1
    best_of: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | Sequence[str] | None = None
    stop_token_ids: Sequence[int] | None = None
    bad_words: Sequence[str] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    logits_processors: Any = None
    truncate_prompt_tokens: int | None = None
    output_kind: Any = None
    guided_decoding: Any = None
    structured_outputs: StructuredOutputsParams | None = None
    logit_bias: Mapping[int, float] | None = None
    allowed_token_ids: Sequence[int] | None = None
    extra_args: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, advice in _ADVICE.items():
            if getattr(self, name):
                raise RequestError(f"is not supported; {advice}", field=name)
        self.stop = [self.stop] if isinstance(self.stop, str) else list(self.stop or ())
        self.stop_token_ids = list(self.stop_token_ids or ())
        self.bad_words = list(self.bad_words or ())
        if self.seed == -1:
            self.seed = None
        if self.logit_bias is not None:
            self.logit_bias = {_token_id(key): value for key, value in self.logit_bias.items()}
        self._check()

    def _check(self) -> None:
        if not all(isinstance(word, str) and word.strip() for word in self.bad_words or ()):
            raise RequestError("each must be a word", field="bad_words")
        if self.allowed_token_ids is not None and not list(self.allowed_token_ids):
            raise RequestError("is empty; None allows every token", field="allowed_token_ids")
        cut = self.truncate_prompt_tokens
        if cut is not None and (type(cut) is not int or (cut < 1 and cut != -1)):
            raise RequestError(
                f"{cut!r} is neither -1 nor a number of tokens", field="truncate_prompt_tokens"
            )
        if not self.detokenize and self.stop:
            raise RequestError("stop strings need detokenize=True", field="stop")
        if not all(isinstance(text, str) for text in self.stop or ()):
            raise RequestError("each must be a string", field="stop")
        StopStrings(self.stop or ())
        if self.structured_outputs is not None:
            self._check_structured(self.structured_outputs)
        self.to_engine()

    def _check_structured(self, structured: object) -> None:
        if not isinstance(structured, StructuredOutputsParams):
            raise RequestError(
                f"{structured!r} is no StructuredOutputsParams", field="structured_outputs"
            )
        for name in ("bad_words", "allowed_token_ids", "min_tokens"):
            if getattr(self, name):
                raise RequestError("is not supported with structured_outputs", field=name)

    @classmethod
    def from_optional(cls, **values: Any) -> SamplingParams:  # noqa: ANN401  (fields)
        """One with defaults for what is None."""
        known = {one.name for one in fields(cls)}
        if unknown := values.keys() - known:
            raise RequestError("is unknown", field=min(unknown))
        given: dict[str, Any] = {
            name: value
            for name, value in values.items()
            if value is not None or name == "max_tokens"
        }
        return cls(**given)

    def clone(self) -> SamplingParams:
        """A copy."""
        return copy.deepcopy(self)

    def to_engine(self, *, eos_ids: Sequence[int] = (), seed: int | None = None) -> EngineParams:
        """The same in the engine's words; stop strings, bad words and the like stay above it.

        Args:
            eos_ids: The checkpoint's end tokens.
            seed: What to take where this has none.
        """
        stops = [*(self.stop_token_ids or ()), *(() if self.ignore_eos else eos_ids)]
        return EngineParams(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=0 if self.top_k == -1 else self.top_k,
            min_p=self.min_p,
            seed=seed if self.seed is None else self.seed,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=dict(self.logit_bias or {}),
            stop_token_ids=tuple(dict.fromkeys(stops)),
            max_tokens=self.max_tokens,
            min_tokens=self.min_tokens,
            n=self.n,
            logprobs=self.logprobs,
            prompt_logprobs=self.prompt_logprobs,
        )


def _token_id(key: object) -> int:
    """The key of a bias, which JSON makes a string."""
    try:
        return int(key)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise RequestError(f"{key!r} is no token id", field="logit_bias") from None
