"""Completion: a prompt's continuations as they come from the engine, with text and stop strings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ossia.api.failure import failure
from ossia.api.offline.request_output import CompletionOutput, Logprob, RequestOutput
from ossia.api.offline.restricted_tokens import RestrictedTokens, bad_sequences
from ossia.api.offline.sampling_params import SamplingParams
from ossia.api.stop import StopStrings
from ossia.api.text_mask import text_masks
from ossia.api.turn_masks import BoundMasks, TurnMasks
from ossia.errors import RequestError
from ossia.harmony import FINAL, HeaderRules
from ossia.structured import Grammar
from ossia.tokenizer import IncrementalDetokenizer, Tokenizer, special
from ossia.types import FinishReason, Request, TokenLogprob, TokenMask, TokenOutput
from ossia.types import SamplingParams as EngineParams


@dataclass(slots=True)
class _One:
    """One continuation."""

    detokenizer: IncrementalDetokenizer
    watch: StopStrings
    ids: list[int] = field(default_factory=list[int])
    logprobs: list[TokenLogprob] = field(default_factory=list[TokenLogprob])
    text: list[str] = field(default_factory=list[str])
    finish_reason: str | None = None
    stop_reason: int | str | None = None


class Completion:
    """Everything between a prompt and its output.

    Args:
        request_id: Unique among those that run.
        tokenizer: Of the model.
        prompt: The prompt's text, if it has one.
        prompt_ids: Its ids.
        params: How to sample.
        sampling: The same for the engine, with the checkpoint's end tokens.
        end_id: The end token that is no reason worth naming.
        priority: Lower runs first.
        is_chat: Whether the prompt ends where an assistant's turn begins: a grammar is then for
            its answer.
    """

    def __init__(
        self,
        request_id: str,
        tokenizer: Tokenizer,
        prompt: str | None,
        prompt_ids: Sequence[int],
        params: SamplingParams,
        sampling: EngineParams,
        *,
        end_id: int | None,
        priority: int = 0,
        is_chat: bool = False,
    ) -> None:
        self._is_chat = is_chat
        self.request_id = request_id
        self._tokenizer = tokenizer
        self._prompt, self._prompt_ids = prompt, list(prompt_ids)
        self._params, self._sampling = params, sampling
        self._end_id, self._priority = end_id, priority
        self._ones = [self._new() for _ in range(params.n)]
        self._prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
        self._cached_tokens = 0

    def request(self) -> Request:
        """What to run.

        Raises:
            RequestError: what the output must look like cannot be enforced.
        """
        return Request(
            request_id=self.request_id,
            prompt_ids=tuple(self._prompt_ids),
            sampling=self._sampling,
            priority=self._priority,
            make_mask=self._make_mask(),
        )

    def _make_mask(self) -> Callable[[int], TokenMask] | None:
        params = self._params
        if params.structured_outputs is not None:
            return self._grammar_masks(params.structured_outputs.to_grammar())
        restricts = params.allowed_token_ids is not None or bool(params.bad_words)
        sequences = bad_sequences(self._tokenizer, params.bad_words or ())

        def make_mask(_: int) -> TokenMask:
            return RestrictedTokens(params.allowed_token_ids, sequences)

        if restricts:
            make_mask(0)  # a wrong id is the caller's mistake, not a failed continuation
        return make_mask if restricts else None

    def _grammar_masks(self, grammar: Grammar) -> Callable[[int], TokenMask]:
        if self._is_chat:
            masks = TurnMasks(rules=HeaderRules(), grammars={FINAL: grammar})
            bound = BoundMasks(masks, self._tokenizer)
            bound.prepare()
            return bound
        end_ids = [one for one in self._sampling.stop_token_ids if special.is_special(one)]
        if not end_ids:
            raise RequestError("the output needs an end token to end with", field="ignore_eos")
        return text_masks(self._tokenizer, grammar, end_ids)

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is wanted of the engine."""
        return all(one.finish_reason is not None for one in self._ones)

    def push(self, output: TokenOutput) -> None:
        """Take in one output of the request.

        Raises:
            EngineClosedError: the engine failed.
            GrammarCostError: what the text must look like is too costly.
        """
        if output.finish_reason is FinishReason.ERROR:
            raise failure(output.error)
        if output.prompt_logprobs is not None:
            self._prompt_logprobs = output.prompt_logprobs
        self._cached_tokens = output.cached_tokens
        one = self._ones[output.index]
        if one.finish_reason is not None:
            return  # a stop string has ended it, while others of the prompt go on
        if output.token_id is not None:
            self._add(one, output.token_id, output)
        if one.finish_reason is None and output.finish_reason is not None:
            self._end(one, output.finish_reason)

    def output(self) -> RequestOutput:
        """All that came."""
        scored = self._prompt_logprobs
        return RequestOutput(
            request_id=self.request_id,
            prompt=self._prompt,
            prompt_token_ids=self._prompt_ids,
            prompt_logprobs=None
            if scored is None
            else [None if one is None else self._by_id(one) for one in scored],
            outputs=[self._completion(index, one) for index, one in enumerate(self._ones)],
            finished=self.is_finished,
            num_cached_tokens=self._cached_tokens,
        )

    def _new(self) -> _One:
        show = not self._params.skip_special_tokens
        detokenizer = IncrementalDetokenizer(self._tokenizer, show_special=show)
        return _One(detokenizer, StopStrings(self._params.stop or ()))

    def _add(self, one: _One, token_id: int, output: TokenOutput) -> None:
        params = self._params
        one.ids.append(token_id)
        if output.logprob is not None:
            one.logprobs.append(output.logprob)
        ends = output.finish_reason is FinishReason.STOP
        if not params.detokenize or (ends and not params.include_stop_str_in_output):
            return
        piece = one.detokenizer.push(token_id)
        watched = len(one.ids) > params.min_tokens and not ends
        one.text.append(one.watch.push(piece) if watched else one.watch.flush() + piece)
        if one.watch.found is not None:
            if params.include_stop_str_in_output:
                one.text.append(one.watch.found)
            one.finish_reason, one.stop_reason = "stop", one.watch.found

    def _end(self, one: _One, reason: FinishReason) -> None:
        one.finish_reason = reason.value
        if reason is FinishReason.STOP and one.ids[-1] != self._end_id:
            one.stop_reason = one.ids[-1]
        one.text.append(one.watch.flush() + one.detokenizer.flush())

    def _completion(self, index: int, one: _One) -> CompletionOutput:
        scored = self._params.logprobs is not None
        return CompletionOutput(
            index=index,
            text="".join(one.text),
            token_ids=one.ids,
            cumulative_logprob=sum(each.logprob for each in one.logprobs) if scored else None,
            logprobs=[self._by_id(each) for each in one.logprobs] if scored else None,
            finish_reason=one.finish_reason,
            stop_reason=one.stop_reason,
        )

    def _by_id(self, scored: TokenLogprob) -> dict[int, Logprob]:
        """The token itself first, then the likeliest."""
        ranks = {token_id: rank for rank, (token_id, _) in enumerate(scored.top, start=1)}
        pairs = {scored.token_id: scored.logprob, **dict(scored.top)}
        return {
            token_id: Logprob(value, ranks.get(token_id), self._tokenizer.decode([token_id]))
            for token_id, value in pairs.items()
        }
