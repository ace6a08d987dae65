"""Which processors and criteria the settings of a call ask for, in transformers' order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from ossia.api.generation.config import GenerationConfig
from ossia.api.generation.logits_processors import (
    ExponentialDecayLengthPenalty,
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    InfNanRemoveLogitsProcessor,
    LogitNormalization,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    PrefixConstrainedLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
)
from ossia.api.generation.prompt import Prompt
from ossia.api.generation.repetition import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)
from ossia.api.generation.stopping_criteria import (
    EosTokenCriteria,
    MaxLengthCriteria,
    MaxTimeCriteria,
    StoppingCriteriaList,
    StopStringCriteria,
)
from ossia.api.generation.token_bias import NoBadWordsLogitsProcessor, SequenceBiasLogitsProcessor
from ossia.api.generation.warpers import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopHLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)
from ossia.errors import RequestError
from ossia.log import logger, warn_once
from ossia.tokenizer import special

_log = logger(__name__)

PrefixFn = Callable[[int, torch.Tensor], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Where continuations end.

    Args:
        eos_ids: Tokens that end one; may be none.
        pad_id: What follows an ended one; None only if nothing ends one but its length.
        max_length: Columns of the output, the prompt's included.
    """

    eos_ids: tuple[int, ...]
    pad_id: int | None
    max_length: int

    @property
    def fill_id(self) -> int:
        """What ended continuations are filled with."""
        return 0 if self.pad_id is None else self.pad_id


def eos_ids_of(config: GenerationConfig) -> tuple[int, ...]:
    """The end tokens of a config as a tuple."""
    ids = config.eos_token_id
    return () if ids is None else (ids,) if isinstance(ids, int) else tuple(ids)


def named_ids_end(vocab_size: int) -> int | None:
    """Ids from here on have no token in the tokenizer, and are never drawn; None: all have one.

    Only a model with gpt-oss's own vocabulary is known to have such rows.
    """
    return special.LAST_LISTED + 1 if vocab_size == special.VOCAB_SIZE else None


def choose_processors(
    config: GenerationConfig,
    prompt: Prompt,
    ends: Ends,
    *,
    prefix_allowed_tokens_fn: PrefixFn | None = None,
    custom: Iterable[Any] | None = None,
    vocab_size: int,
) -> LogitsProcessorList:
    """The processors of a call.

    Args:
        config: Resolved.
        prompt: With as many rows as will be decoded.
        ends: Of the call.
        prefix_allowed_tokens_fn: Allows tokens.
        custom: The user's; one of a class that the settings ask for replaces it.
        vocab_size: Of the model.

    Raises:
        RequestError: a setting is refused; names it.
    """
    chosen = _merged(_processors(config, prompt, ends, prefix_allowed_tokens_fn), custom)
    if config.do_sample:
        chosen += _warpers(config, 1 if config.num_beams == 1 else max(2, len(ends.eos_ids) + 1))
    end = named_ids_end(vocab_size)
    if end is not None:
        chosen.append(SuppressTokensLogitsProcessor(torch.arange(end, vocab_size)))
    if config.renormalize_logits:
        chosen.append(LogitNormalization())
    return LogitsProcessorList(chosen)


def choose_criteria(
    config: GenerationConfig,
    ends: Ends,
    *,
    tokenizer: Any = None,
    custom: Iterable[Any] | None = None,
    max_positions: int | None = None,
) -> StoppingCriteriaList:
    """The criteria of a call.

    Args:
        config: Resolved.
        ends: Of the call.
        tokenizer: Needed for stop strings.
        custom: The user's; one of a class that the settings ask for replaces it.
        max_positions: The model's context length.

    Raises:
        RequestError: stop strings without a tokenizer.
    """
    chosen: list[Any] = [MaxLengthCriteria(ends.max_length, max_positions)]
    if config.max_time is not None:
        chosen.append(MaxTimeCriteria(config.max_time))
    if config.stop_strings is not None:
        chosen.append(stop_string_criteria(config, tokenizer))
    if ends.eos_ids:
        chosen.append(EosTokenCriteria(list(ends.eos_ids)))
    return StoppingCriteriaList(_merged(chosen, custom))


def stop_string_criteria(config: GenerationConfig, tokenizer: Any) -> StopStringCriteria:
    """The criterion for a config's stop strings.

    Raises:
        RequestError: no tokenizer.
    """
    assert config.stop_strings is not None, "only called where there are some"
    if tokenizer is None:
        raise RequestError(
            "text can only be found with the tokenizer: pass tokenizer=", field="stop_strings"
        )
    return StopStringCriteria(tokenizer, config.stop_strings)


def _merged(chosen: list[Any], custom: Iterable[Any] | None) -> list[Any]:
    """The chosen ones, replaced by the user's of the same class, then the user's others."""
    own = list(custom or ())
    merged: list[Any] = []
    for one in chosen:
        twin = next((other for other in own if type(other) is type(one)), None)
        if twin is not None:
            warn_once(_log, f"the given {type(one).__name__} replaces the one of the settings")
        merged.append(one if twin is None else twin)
    return merged + [one for one in own if not any(one is other for other in merged)]


def _processors(
    config: GenerationConfig, prompt: Prompt, ends: Ends, prefix_fn: PrefixFn | None
) -> list[Any]:
    length, eos = prompt.input_ids.shape[1], list(ends.eos_ids)
    wanted: list[Any] = []
    if config.sequence_bias is not None:
        wanted.append(SequenceBiasLogitsProcessor(config.sequence_bias))
    if config.repetition_penalty not in (None, 1.0):
        wanted.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty, _padding(prompt)))
    if config.no_repeat_ngram_size:
        wanted.append(NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size))
    if config.bad_words_ids is not None:
        wanted.append(NoBadWordsLogitsProcessor(config.bad_words_ids, eos or None))
    wanted += _minimums(config, length, eos)
    if prefix_fn is not None:
        wanted.append(PrefixConstrainedLogitsProcessor(prefix_fn, config.num_beams or 1))
    return wanted + _forced(config, length, ends)


def _padding(prompt: Prompt) -> torch.Tensor | None:
    """(rows,): length of the padding in front of the ids."""
    if prompt.input_ids.shape[1] == 0:
        return None
    return (prompt.attention_mask != 0).int().argmax(dim=1)


def _minimums(config: GenerationConfig, length: int, eos: list[int]) -> list[Any]:
    wanted: list[Any] = []
    if config.min_length and eos and config.min_new_tokens is None:
        wanted.append(MinLengthLogitsProcessor(config.min_length, eos))
    if config.min_new_tokens and eos:
        wanted.append(MinNewTokensLengthLogitsProcessor(length, config.min_new_tokens, eos))
    return wanted


def _forced(config: GenerationConfig, length: int, ends: Ends) -> list[Any]:
    eos = list(ends.eos_ids)
    wanted: list[Any] = []
    if config.forced_bos_token_id is not None:
        wanted.append(ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id))
    if config.forced_eos_token_id is not None:
        wanted.append(ForcedEOSTokenLogitsProcessor(ends.max_length, config.forced_eos_token_id))
    if config.remove_invalid_values:
        wanted.append(InfNanRemoveLogitsProcessor())
    if config.exponential_decay_length_penalty is not None:
        if not eos:
            raise RequestError(
                "needs eos_token_id to know which tokens are to gain",
                field="exponential_decay_length_penalty",
            )
        penalty = config.exponential_decay_length_penalty
        wanted.append(ExponentialDecayLengthPenalty(penalty, eos, length))
    if config.suppress_tokens is not None:
        wanted.append(SuppressTokensLogitsProcessor(config.suppress_tokens))
    if config.begin_suppress_tokens is not None:
        begin = length if length > 1 or config.forced_bos_token_id is None else length + 1
        wanted.append(SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin))
    return wanted


def _warpers(config: GenerationConfig, kept: int) -> list[Any]:
    """What sampling does to the distribution; `kept` tokens stay in any case."""
    wanted: list[Any] = []
    if config.temperature not in (None, 1.0):
        wanted.append(TemperatureLogitsWarper(config.temperature))
    if config.top_h is not None:
        wanted.append(TopHLogitsWarper(config.top_h))
    if config.top_k:
        wanted.append(TopKLogitsWarper(config.top_k, min_tokens_to_keep=kept))
    if config.top_p is not None and config.top_p < 1:
        wanted.append(TopPLogitsWarper(config.top_p, min_tokens_to_keep=kept))
    if config.min_p is not None:
        wanted.append(MinPLogitsWarper(config.min_p, min_tokens_to_keep=kept))
    if config.typical_p is not None and config.typical_p < 1:
        wanted.append(TypicalLogitsWarper(config.typical_p, min_tokens_to_keep=kept))
    if config.epsilon_cutoff is not None and 0 < config.epsilon_cutoff < 1:
        wanted.append(EpsilonLogitsWarper(config.epsilon_cutoff, min_tokens_to_keep=kept))
    if config.eta_cutoff is not None and 0 < config.eta_cutoff < 1:
        wanted.append(EtaLogitsWarper(config.eta_cutoff, min_tokens_to_keep=kept))
    return wanted
