"""Runner: carries out a StepPlan. ModelRunner does so with one model on one device."""

from __future__ import annotations

from typing import Protocol

import torch

from ossia.cache.layout import KVLayout
from ossia.cache.pool import KVPool
from ossia.config import ModelConfig
from ossia.engine.batch_builder import BatchBuilder, BuiltBatch
from ossia.engine.config import EngineConfig, StepLimits
from ossia.engine.fast_decode import FastDecode
from ossia.engine.kv_budget import layout_for, share_out
from ossia.engine.plan import Drawn, StepPlan, StepResult
from ossia.engine.precision import (
    check_prefill,
    choose_prefill,
    choose_weights,
    int8_activations_of,
    kv_dtype,
    round_to_fp8,
    stays_wide,
)
from ossia.engine.sampler import Sampler, drawn_with_peaks, score_prompt
from ossia.engine.sequence import Sequence
from ossia.errors import ConfigError
from ossia.kernels.attention import queries_of_a_block
from ossia.kernels.cpu import read_ahead
from ossia.kernels.fp8 import MANY_TOKENS, PACKED_TOKENS
from ossia.kernels.int8 import row_width
from ossia.kernels.sampling import widened
from ossia.kernels.uploads import upload
from ossia.log import logger, warn_once
from ossia.model.batch import ForwardBatch
from ossia.model.cpu_decoder import CpuDecoder
from ossia.model.cpu_decoder import why_not as why_not_cpu_decoder
from ossia.model.cpu_step import CpuStep
from ossia.model.cpu_step import why_not as why_not_cpu_step
from ossia.model.decode_memory import DecodeMemory
from ossia.model.decode_step import MAX_ROWS, relay_weights
from ossia.model.decode_step import why_not as why_not_fast
from ossia.model.forward_graphs import ForwardGraphs, graph_sizes, pass_sizes
from ossia.model.fp8_weights import ATTENTION, rounded_parts
from ossia.model.heads import CausalLM
from ossia.model.interleaving import interleave_weights
from ossia.model.interleaving import why_not as why_not_interleaved
from ossia.types import TokenLogprob

_log = logger(__name__)


class Runner(Protocol):
    """What the engine needs of whatever computes its plans.

    Attributes:
        model_config: Shape of the model.
        limits: What a forward pass takes.
        num_pages: Size of its KV cache.
        looks_ahead: Whether it makes use of places for the token after the next one.
        rows_alike: Sequences that one pass may decode so that each gets the very bits that it gets
            alone. Counts where the engine is deterministic.
    """

    model_config: ModelConfig
    limits: StepLimits
    num_pages: int
    looks_ahead: bool
    rows_alike: int

    def execute(self, plan: StepPlan) -> StepResult:
        """Copy the pages that the plan's sequences list, compute, and draw tokens."""
        ...

    def release(self, sequence: Sequence) -> None:
        """Forget what is kept for a sequence that has ended."""
        ...

    def warm_up(self) -> None:
        """Prepare what would otherwise be prepared when the first plan needs it."""
        ...


class ModelRunner:
    """Weights, KV cache, forward pass and sampler.

    Args:
        model: Where its parameters are, the cache will be.
        config: Cache size and dtype, and the end of the valid token ids.

    Raises:
        ConfigError: the cache would be too small, the valid ids exceed the vocabulary, or weights, keys and
            values, or activations of 8 bits are asked for where there are none.
    """

    def __init__(self, model: CausalLM, config: EngineConfig) -> None:
        weight = model.model.embed_tokens.weight
        self.model_config = model.config
        self._model = model
        self._device = weight.device
        self._valid_end = _valid_end(config, model.config)
        layout = layout_for(config, model.config)
        dtype = kv_dtype(config, weight, layout.head_dim)
        context = min(config.max_context or 2**62, model.config.max_position_embeddings)
        round_to_fp8(config, model)
        fast = _steps_are_graphs(config, model, dtype, weight.device)
        if fast:  # before the cache is measured out, since it moves much memory about
            relay_weights(model)
        elif why_not_interleaved(model) is None:
            interleave_weights(model)
        int8_activations = int8_activations_of(config, model)
        choose_weights(config, model, int8_activations=int8_activations)
        choose_prefill(config, model)
        # Each new token's row would else be waited for.
        read_ahead(model.model.embed_tokens.weight.data)
        kept = [weight.dtype if stays_wide(kind, dtype) else dtype for kind in layout.groups]
        row_bytes = min(row_width(layout.head_dim, each) * each.itemsize for each in kept)
        self.limits, self.num_pages = share_out(
            config, model.config, layout, context, row_bytes, weight.device
        )
        check_prefill(config, self.limits)
        self._pool = KVPool(layout, self.num_pages, kept, weight.device)
        self._builder = BatchBuilder(
            layout, self._pool, model.config.num_attention_heads, weight.device,
            int8_activations=int8_activations, fp8_prefill=config.fp8_prefill,
        )  # fmt: skip
        self.rows_alike = 1
        self._fast = self._graphs = self._cpu_decoder = self._cpu_step = None
        self._long_passes: list[int] = []  # tokens of a pass of each kind that is no graph
        self.looks_ahead = fast
        if why_not_cpu_decoder(model, dtype) is None:
            self._cpu_decoder = CpuDecoder(model)
            if why_not_cpu_step(model) is None:
                self._cpu_step = CpuStep(
                    model, self._cpu_decoder, (self._pool.k_pages, self._pool.v_pages), layout.groups,
                    context, self._valid_end, int8_activations=int8_activations,
                )  # fmt: skip
        if fast:
            most, alike = self.limits.max_sequences, config.deterministic
            sizes = graph_sizes(_most_of_a_graph(model, self.limits))
            self._fast = FastDecode(
                model, layout, self._pool, context, self._valid_end, most, alike=alike,
                passes=pass_sizes(sizes, most),
            )  # fmt: skip
            self.rows_alike = min(most, MAX_ROWS)
            self._graphs = _forward_graphs(
                model, self._fast.memory, most, layout, self._pool, context, sizes
            )
            self._long_passes = [sizes[-1] + 1] if self.limits.max_batch_tokens > sizes[-1] else []
            self._long_passes += [MANY_TOKENS] if config.fp8_prefill else []
        self._sampler = Sampler(weight.device, self._rows_of_draws(config))

    def execute(self, plan: StepPlan) -> StepResult:
        """As Runner says."""
        if (step := self._cpu_step) is not None and _takes(step, plan):  # mostly without torch
            return StepResult(self._drawn_on_cpu(step, plan), [[] for _ in plan.entries])
        # Kernels start on the current device.
        with torch.inference_mode(), torch.cuda.device_of(self._pool.k_pages[0]):
            return self._execute(plan)

    def _execute(self, plan: StepPlan) -> StepResult:
        self._copy_pages(plan)
        if self._fast is not None:
            if self._fast.takes(plan):
                return self._fast.execute(plan, self._sampler)
            if (landing := self._fast.land(plan, self._sampler)) is not None:
                return landing.joined(self._pass(landing.rest))
        return self._pass(plan)

    def _pass(self, plan: StepPlan) -> StepResult:
        built = self._builder.build(plan)
        logits = widened(self._forward(built.forward))  # (rows, vocab)
        logits[:, self._valid_end :] = -torch.inf
        scores = self._score_prompts(plan, built, logits)
        draws = plan.draws
        rows = built.draw_rows
        drawn = self._sampler.sample(_pick(logits, rows), draws) if draws else []
        return StepResult(drawn, scores)

    def _copy_pages(self, plan: StepPlan) -> None:
        pairs = [pair for entry in plan.entries for pair in entry.sequence.own_pages.copies]
        if pairs:
            with torch.inference_mode():
                self._pool.copy(pairs)

    def _drawn_on_cpu(self, step: CpuStep, plan: StepPlan) -> list[Drawn]:
        self._copy_pages(plan)
        sequences, draws = [entry.sequence for entry in plan.entries], plan.draws
        positions = [sequence.num_computed for sequence in sequences]
        ids = [one.token_ids[at] for one, at in zip(sequences, positions, strict=True)]
        tables = [sequence.own_pages.tables for sequence in sequences]
        if len(draws) == len(ids) and self._sampler.takes_argmax(draws):
            return drawn_with_peaks(*step.most_likely(ids, positions, tables))
        with torch.inference_mode():
            logits = step.logits(ids, positions, tables)
            logits[:, self._valid_end :] = -torch.inf
            rows = [row for row, entry in enumerate(plan.entries) if entry.draws]
            return self._sampler.sample(_pick(logits, rows), draws) if draws else []

    def release(self, sequence: Sequence) -> None:
        """As Runner says."""
        self._sampler.release(sequence)

    @torch.inference_mode()
    def warm_up(self) -> None:
        """As Runner says: kernels are compiled and CUDA graphs captured."""
        with torch.cuda.device_of(self._pool.k_pages[0]):
            self._sampler.warm_up(self.model_config.vocab_size)
            if self._fast is not None:
                self._fast.warm_up()
            if self._graphs is not None:
                self._graphs.warm_up()
                # Longer passes are no graphs, and have kernels of their own, which are compiled here.
                for tokens in self._long_passes:
                    self._model(self._builder.idle(tokens).to(self._device))

    def _rows_of_draws(self, config: EngineConfig) -> int | None:
        if not config.deterministic:
            return None
        return 1 if self._device.type == "cpu" else max(2, self.rows_alike)

    def _forward(self, batch: ForwardBatch) -> torch.Tensor:
        if self._graphs is not None and self._graphs.takes(batch):
            return self._graphs.run(batch)
        if self._cpu_decoder is not None and self._cpu_decoder.takes(batch):
            return self._model.unembed(self._cpu_decoder.run(batch), batch)
        return self._model(batch.to(self._device))

    def _score_prompts(
        self, plan: StepPlan, built: BuiltBatch, logits: torch.Tensor
    ) -> list[list[TokenLogprob]]:
        scores: list[list[TokenLogprob]] = []
        for entry, (first, count) in zip(plan.entries, built.scored_rows, strict=True):
            num_top = entry.sequence.request.sampling.prompt_logprobs
            if count == 0 or num_top is None:
                scores.append([])
                continue
            start = entry.sequence.num_computed + 1
            targets = entry.sequence.token_ids[start : start + count]
            scores.append(score_prompt(logits[first : first + count], targets, num_top))
        return scores


def _steps_are_graphs(
    config: EngineConfig, model: CausalLM, dtype: torch.dtype, device: torch.device
) -> bool:
    if not config.cuda_graphs:
        return False
    why_not = why_not_fast(model, dtype)
    if why_not is not None and device.type == "cuda":
        warn_once(
            _log,
            f"steps run operation by operation, many times slower than as CUDA graphs: {why_not}",
        )
    return why_not is None


def _forward_graphs(
    model: CausalLM,
    memory: DecodeMemory,
    max_sequences: int,
    layout: KVLayout,
    pool: KVPool,
    context: int,
    sizes: tuple[int, ...],
) -> ForwardGraphs | None:
    queries = queries_of_a_block(
        model.config.num_attention_heads, layout.kv_heads, pool.k_pages[0].device
    )
    if queries is None:
        return None
    return ForwardGraphs(
        model,
        (pool.k_pages, pool.v_pages),
        layout.groups,
        memory,
        max_sequences,
        -(-context // min(layout.page_sizes)) + 1,
        queries,
        sizes,
    )


def _most_of_a_graph(model: CausalLM, limits: StepLimits) -> int:
    """Tokens of a pass that may be a graph: for more than so many, rounded projections go another way."""
    rounded = ATTENTION in rounded_parts(model)
    return min(limits.max_batch_tokens, PACKED_TOKENS) if rounded else limits.max_batch_tokens


def _takes(step: CpuStep, plan: StepPlan) -> bool:
    return 0 < len(plan.entries) <= step.max_rows and plan.only_decodes and step.is_current()


def _pick(logits: torch.Tensor, rows: list[int]) -> torch.Tensor:
    if rows == list(range(len(logits))):
        return logits
    return logits.index_select(0, upload(rows, logits.device))


def _valid_end(config: EngineConfig, model_config: ModelConfig) -> int:
    end = config.valid_token_ids_end or model_config.vocab_size
    if end > model_config.vocab_size:
        raise ConfigError(f"valid_token_ids_end={end} exceeds vocab_size={model_config.vocab_size}")
    return end
