"""generate on the engine: paged cache and continuous batching instead of padded rows.

The engine serves what only needs ids in and ids out. `why_not` decides, and says why.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ossia.api.generation.choosing import Ends, named_ids_end
from ossia.api.generation.config import GenerationConfig
from ossia.api.generation.prompt import Prompt
from ossia.api.generation.stopping_criteria import StopStringCriteria
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.errors import OssiaError
from ossia.types import FinishReason, Request, SamplingParams, TokenOutput

_NEUTRAL: dict[str, tuple[object, ...]] = {  # what the engine's sampler knows nothing of
    "sequence_bias": (None,),
    "no_repeat_ngram_size": (None, 0),
    "bad_words_ids": (None,),
    "forced_bos_token_id": (None,),
    "forced_eos_token_id": (None,),
    "remove_invalid_values": (None, False),
    "exponential_decay_length_penalty": (None,),
    "suppress_tokens": (None,),
    "begin_suppress_tokens": (None,),
    "prompt_lookup_num_tokens": (None,),
    "return_dict_in_generate": (None, False),
    "num_beams": (None, 1),
    "use_cache": (True,),
}
_NEUTRAL_WHEN_SAMPLING: dict[str, tuple[object, ...]] = {
    "top_h": (None,),
    "typical_p": (None, 1.0),
    "epsilon_cutoff": (None, 0.0),
    "eta_cutoff": (None, 0.0),
}
_ENGINE_RANGES = {  # what its parameters may be, where transformers' may be more
    "temperature": (0.0, 100.0),
    "top_p": (1e-9, 1.0),
    "repetition_penalty": (1e-9, 100.0),
}
_MOST_FORKS = 128  # of one engine request


def why_not(
    model: Any,
    config: GenerationConfig,
    prompt: Prompt,
    ends: Ends,
    arguments: dict[str, Any],
) -> str | None:
    """Why a call cannot run on the engine; None if it can.

    Args:
        model: A GptOssForCausalLM.
        config: Resolved.
        prompt: One row for each prompt.
        ends: Where continuations end.
        arguments: Those of `generate` that are neither settings nor prompt.
    """
    for name in ("logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn"):
        if arguments.get(name):
            return f"{name} works on rows of scores and ids"
    for name in ("assistant_model", "past_key_values", "position_ids", "synced_gpus"):
        if arguments.get(name) is not None and arguments[name] is not False:
            return f"{name} is given"
    name = unknown_to_engine(config)
    if name is not None:
        return f"{name}={getattr(config, name)!r} is set"
    return _why_not_rows(config, prompt, arguments) or _why_not_text(config, prompt, ends, model)


def unknown_to_engine(config: GenerationConfig) -> str | None:
    """The first setting that the engine's sampler knows nothing of; None if there is none.

    Args:
        config: Resolved.
    """
    neutral = _NEUTRAL | (_NEUTRAL_WHEN_SAMPLING if config.do_sample else {})
    for name, values in neutral.items():
        if getattr(config, name) not in values:
            return name
    for name, (least, most) in _ENGINE_RANGES.items():
        value = getattr(config, name)
        if value is not None and not least <= value <= most:
            return name
    return None


def _why_not_rows(
    config: GenerationConfig, prompt: Prompt, arguments: dict[str, Any]
) -> str | None:
    if prompt.inputs_embeds is not None:
        return "inputs_embeds is given"
    if not prompt.is_left_padded:
        return "padding is not in front of the rows only"
    if arguments.get("streamer") is not None and _num_rows(config, prompt) > 1:
        return "a streamer takes all rows in step"
    return None


def _why_not_text(config: GenerationConfig, prompt: Prompt, ends: Ends, model: Any) -> str | None:
    may_differ = config.stop_strings is not None or config.max_time is not None
    if ends.pad_id is None and may_differ and _num_rows(config, prompt) > 1:
        return "rows may end at different lengths, and there is no padding token"
    if ends.max_length > model.config.max_position_embeddings:
        return "the text may exceed the model's context"
    return _why_not_model(model)


def _num_rows(config: GenerationConfig, prompt: Prompt) -> int:
    return len(prompt.input_ids) * (config.num_return_sequences or 1)


def _why_not_model(model: Any) -> str | None:
    if "forward" in model.__dict__ or model._forward_hooks or model._forward_pre_hooks:
        return "the model's forward is replaced or hooked"
    if not hasattr(model, "as_engine_model") or type(model).forward is not _known_forward():
        return "the model's class has a forward of its own"
    if len({parameter.device for parameter in model.parameters()}) > 1:
        return "the model is spread over devices"
    return None


def _known_forward() -> Any:
    from ossia.api.models.causal_lm import GptOssForCausalLM

    return GptOssForCausalLM.forward


def engine_sampling(
    config: GenerationConfig,
    eos_ids: tuple[int, ...],
    *,
    max_tokens: int | None,
    min_tokens: int,
    n: int = 1,
    seed: int | None = None,
    logprobs: int | None = None,
) -> SamplingParams:
    """A config's settings as the engine's.

    Args:
        config: Resolved.
        eos_ids: Tokens that end a continuation.
        max_tokens: Of output; None goes up to the context.
        min_tokens: Of output before an end token.
        n: Continuations.
        seed: Of the draws; None takes one from torch's generator, so that `torch.manual_seed`
            makes calls repeat.
        logprobs: How many to report beside the drawn token's; None reports none.
    """
    by_chance: dict[str, Any] = {"temperature": 0.0, "seed": 0}
    if config.do_sample:
        by_chance = {
            "temperature": float(config.temperature or 1.0),
            "top_p": float(config.top_p or 1.0),
            "top_k": config.top_k or 0,
            "min_p": float(config.min_p or 0.0),
            "seed": int(torch.randint(0, 2**62, ())) if seed is None else seed,
        }
    return SamplingParams(
        repetition_penalty=float(config.repetition_penalty or 1.0),
        stop_token_ids=eos_ids,
        max_tokens=max_tokens,
        min_tokens=min_tokens if max_tokens is None else min(min_tokens, max_tokens),
        n=n,
        logprobs=logprobs,
        **by_chance,
    )


@dataclass(slots=True)
class _Row:
    """One continuation."""

    ids: list[int]
    prompt: list[int]
    is_over: bool = False


class EngineCall:
    """One call of `generate` on an engine of its own, which is gone afterwards.

    The engine reads the model's parameters as they are now; nothing of it is kept.

    Args:
        model: A GptOssForCausalLM.
        config: Resolved.
        prompt: One row for each prompt.
        ends: Where continuations end.
        stops: Ends continuations, too; None without stop strings.
        streamer: Takes the tokens of the only row.
    """

    def __init__(
        self,
        model: Any,
        config: GenerationConfig,
        prompt: Prompt,
        ends: Ends,
        *,
        stops: StopStringCriteria | None = None,
        streamer: Any = None,
    ) -> None:
        self._config, self._prompt, self._ends = config, prompt, ends
        self._stops, self._streamer = stops, streamer
        self._limit = ends.max_length - prompt.input_ids.shape[1]
        self._prompts = _without_padding(prompt)
        self._times = config.num_return_sequences or 1
        self._rows = [_Row([], ids) for ids in self._prompts for _ in range(self._times)]
        rows, chunk = len(self._rows), config.prefill_chunk_size
        engine_config = EngineConfig(
            max_context=max(map(len, self._prompts)) + self._limit + 1,
            max_sequences=rows,
            max_batch_tokens=max(rows, chunk) if chunk else None,
            prefill_chunk=chunk,
            prefix_reuse=rows > 1,
            valid_token_ids_end=named_ids_end(model.config.vocab_size),
        )
        self._core = EngineCore(model.as_engine_model(), engine_config)

    def run(self) -> torch.Tensor:
        """Run to the end.

        Returns:
            int64 (rows, seq): prompts with their padding, continuations filled up behind their end.

        Raises:
            RequestError: the engine refuses a prompt.
            OssiaError: the model's scores are no numbers.
        """
        start = time.monotonic()
        rows_of = self._submit()
        while self._core.has_work:
            for output in self._core.step():
                row = self._rows[rows_of[output.request_id] + output.index]
                self._take(row, output)
            if self._is_overdue(time.monotonic() - start):
                break
        return self._output()

    def _submit(self) -> dict[str, int]:
        """Queue all; the first row of each request."""
        # A request is aborted with all its continuations, so what may be aborted stands alone.
        forks = 1 if self._stops is not None else min(self._times, _MOST_FORKS)
        rows_of: dict[str, int] = {}
        for first in range(0, len(self._rows), self._times):
            for offset in range(0, self._times, forks):
                n = min(forks, self._times - offset)
                request_id = str(first + offset)
                sampling = self._sampling(n)
                prompt_ids = tuple(self._rows[first].prompt)
                self._core.submit(
                    Request(request_id=request_id, prompt_ids=prompt_ids, sampling=sampling)
                )
                rows_of[request_id] = first + offset
        return rows_of

    def _sampling(self, n: int) -> SamplingParams:
        config = self._config
        least = config.min_new_tokens
        if least is None:
            least = max(0, (config.min_length or 0) - self._prompt.length)
        return engine_sampling(
            config, self._ends.eos_ids, max_tokens=self._limit, min_tokens=least, n=n
        )

    def _take(self, row: _Row, output: TokenOutput) -> None:
        if output.finish_reason is FinishReason.ERROR:
            raise OssiaError(f"generation failed: {output.error}")
        row.is_over = row.is_over or output.finish_reason is not None
        if output.token_id is None:
            return
        row.ids.append(output.token_id)
        if self._streamer is not None:
            self._streamer.put(torch.tensor([output.token_id]))
        if self._stops is not None and not row.is_over and self._stops.ends(row.prompt + row.ids):
            row.is_over = True
            self._core.abort(output.request_id)

    def _is_overdue(self, elapsed: float) -> bool:
        """Whether time is up; every row has at least one token then, as with rows in step."""
        limit = self._config.max_time
        return limit is not None and elapsed > limit and all(row.ids for row in self._rows)

    def _output(self) -> torch.Tensor:
        longest = max(len(row.ids) for row in self._rows)
        filled = [row.ids + [self._ends.fill_id] * (longest - len(row.ids)) for row in self._rows]
        prompts = self._prompt.input_ids.repeat_interleave(self._times, dim=0)
        new = torch.tensor(filled, dtype=torch.int64, device=prompts.device)
        return torch.cat((prompts, new), dim=1)


def _without_padding(prompt: Prompt) -> list[list[int]]:
    pairs: Iterator[Any] = zip(prompt.input_ids, prompt.attention_mask, strict=True)
    return [ids[mask != 0].tolist() for ids, mask in pairs]
