"""Latency: how fast prompts are read and tokens are made, as llama-bench tells it.

A case is a number of sequences at a depth. Each sequence has `depth` tokens in the KV cache already.
`pp` times `prompt` further tokens of each up to the first token of the last; `tg` then times the
tokens between the moment when all sequences have their first token and the one when the first of
them ends, so that every pass counted makes one token for each.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from ossia.api.runtime import core_for
from ossia.bench.ceilings import Ceilings
from ossia.bench.distribution import Distribution
from ossia.bench.moments import Moments
from ossia.bench.playing import Prompt, play, random_prompt
from ossia.bench.request_timing import RequestTiming
from ossia.bench.roofline import kv_bytes, prefill_flops, weight_bytes
from ossia.bench.subject import Subject
from ossia.engine.config import CpuActivations, CpuWeights, EngineConfig, Fp8Weights, KVDtype
from ossia.engine.core import EngineCore
from ossia.errors import CapacityError, RequestError
from ossia.tokenizer import special
from ossia.types import SamplingParams

_WARM_UP_TOKENS = 4
_PAGE = EngineConfig().page_size
Teller = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPlan:
    """What to measure: every batch at every depth.

    Args:
        batches: Sequences side by side.
        depths: Tokens of each that are in the cache before, multiples of 16, which is a page.
        prompt: Tokens of each that are read.
        tokens: That are made of each, at least 2.
        repeats: Times that each case is measured, after one that is not counted.
        chunk: Prompt tokens of one forward pass at most; None is 8,192 on CUDA, 2,048 on the CPU.
        seed: Of the random ids.
        temperature: Of the draws; 0 is greedy.
        top_p: Of the draws; 1 is from all tokens.
        logprobs: Most likely tokens that are told with each, beside its own log-probability; None asks for none.
        cpu_weights: Of attention and the unembedding on the CPU, as `EngineConfig` has them.
        cpu_activations: What enters products on the CPU, as `EngineConfig` has it.
        fp8_weights: Which matrices are rounded on CUDA, as `EngineConfig` has it.
        fp8_prefill: Whether passes of many tokens compute in 8-bit floats on CUDA, as `EngineConfig` has it.
        kv_dtype: How keys and values are stored, as `EngineConfig` has it.

    Raises:
        RequestError: a value is out of range; names the field.
    """

    batches: tuple[int, ...] = (1,)
    depths: tuple[int, ...] = (0,)
    prompt: int = 128
    tokens: int = 128
    repeats: int = 5
    chunk: int | None = None
    seed: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    logprobs: int | None = None
    cpu_weights: CpuWeights = "bf16"
    cpu_activations: CpuActivations = "full"
    fp8_weights: Fp8Weights = "none"
    fp8_prefill: bool = False
    kv_dtype: KVDtype = "auto"

    def __post_init__(self) -> None:
        for name, least in (("prompt", 1), ("tokens", 2), ("repeats", 1)):
            if getattr(self, name) < least:
                raise RequestError(
                    f"{getattr(self, name)} is too few; at least {least}", field=name
                )
        for batch in self.batches:
            if batch < 1:
                raise RequestError(f"{batch} is no number of sequences", field="batch")
        for depth in self.depths:
            if depth < 0 or depth % _PAGE:
                raise RequestError(
                    f"{depth} is no multiple of {_PAGE}, the tokens of a page", field="depth"
                )
        self.sampling()  # refuses what is none
        if self.chunk is not None and self.chunk < 1:
            raise RequestError(f"{self.chunk} is no number of tokens", field="chunk")

    def sampling(self) -> SamplingParams:
        """How tokens are drawn."""
        return SamplingParams(
            temperature=self.temperature, top_p=self.top_p, logprobs=self.logprobs
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillResult:
    """Prompts read.

    Args:
        test: Such as "pp512".
        batch: Sequences.
        depth: Tokens of each before.
        tokens_per_second: Prompt tokens, over the repeats.
        ttft_ms: From queueing to the first token, mean over the sequences.
        flops: Operations of the matrix products.
        share: Of the rate of a large bfloat16 product, at the mean.
    """

    test: str
    batch: int
    depth: int
    tokens_per_second: Distribution
    ttft_ms: Distribution
    flops: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeResult:
    """Tokens made.

    Args:
        test: Such as "tg128".
        batch: Sequences.
        depth: Tokens of each before the prompt.
        tokens_per_second: Of all sequences together, over the repeats.
        tpot_ms: Time of a pass, and so per token of a sequence.
        weight_bytes: Of weights that a pass must read; experts as uniform routing would choose.
        kv_bytes: Of keys and values that it must read besides, half way through.
        read_bandwidth: Bytes a second, mean over the repeats; on a CPU measured between steps.
        share: Of the read bandwidth, weights counted, mean over the repeats.
        share_with_kv: The same with keys and values.
    """

    test: str
    batch: int
    depth: int
    tokens_per_second: Distribution
    tpot_ms: Distribution
    weight_bytes: float
    kv_bytes: float
    read_bandwidth: float
    share: float
    share_with_kv: float


LatencyResult = PrefillResult | DecodeResult


class LatencyBench:
    """Measures one model.

    Args:
        subject: The model.
        plan: What of it.

    Raises:
        RequestError: the model's context is too short; names the field.
    """

    def __init__(self, subject: Subject, plan: LatencyPlan) -> None:
        self._subject, self._plan = subject, plan
        config = subject.network.config
        self._vocab = min(special.LAST_LISTED + 1, config.vocab_size)
        self._numbers = random.Random(plan.seed)
        own = plan.prompt + plan.tokens
        longest = max(plan.depths) + own
        if longest > config.max_position_embeddings:
            raise RequestError(
                f"{max(plan.depths)} and {own} tokens exceed the model's context of "
                f"{config.max_position_embeddings}",
                field="depth",
            )
        chunk = plan.chunk or (8192 if subject.device.type == "cuda" else 2048)
        # Room for a second set of tails, so that none pushes the contexts out.
        self._config = EngineConfig(
            max_sequences=max(plan.batches),
            max_batch_tokens=max(chunk, *plan.batches),
            prefill_chunk=chunk,
            max_context=min(longest + own, config.max_position_embeddings),
            cpu_weights=plan.cpu_weights,
            cpu_activations=plan.cpu_activations,
            fp8_weights=plan.fp8_weights,
            fp8_prefill=plan.fp8_prefill,
            kv_dtype=plan.kv_dtype,
            prefix_reuse=max(plan.depths) > 0,
        )
        self._core: EngineCore | None = None

    def start(self) -> EngineCore:
        """Make the engine, if there is none yet: it may round the subject's weights.

        Raises:
            ConfigError: the plan asks for a precision that the model does not have here.
        """
        if self._core is None:
            self._core = core_for(self._subject.network, self._config)
        return self._core

    def run(
        self,
        ceilings: Ceilings,
        tell: Teller = lambda _: None,
        reads: Callable[[], float] | None = None,
    ) -> Iterator[LatencyResult]:
        """Measure every case.

        Args:
            ceilings: Of the same device, measured in the same run.
            tell: Told what goes on.
            reads: Measures the read bandwidth as it is at that moment, for a device where it changes.

        Yields:
            Two results of each case, as soon as they are there.

        Raises:
            CapacityError: sequences do not find room side by side.
            ConfigError: as `start`.
            OssiaError: a forward pass failed.
        """
        core = self.start()
        for batch in self._plan.batches:
            for depth in self._plan.depths:
                tell(f"{batch} x depth {depth}")
                yield from self._case(core, batch, depth, ceilings, reads)

    def trace(self) -> None:
        """The first case once, with few tokens, for a profiler."""
        plan = replace(self._plan, tokens=min(self._plan.tokens, 8))
        core = self.start()
        contexts = self._contexts(core, plan.batches[0], plan.depths[0])
        self._once(core, contexts, plan.tokens)

    def _case(
        self,
        core: EngineCore,
        batch: int,
        depth: int,
        ceilings: Ceilings,
        reads: Callable[[], float] | None,
    ) -> list[LatencyResult]:
        plan = self._plan
        contexts = self._contexts(core, batch, depth)
        self._once(core, contexts, min(plan.tokens, _WARM_UP_TOKENS))
        repeats: list[list[RequestTiming]] = []
        beside: list[float] = []
        for _ in range(plan.repeats):
            moments = None if reads is None else Moments(reads)
            repeats.append(self._once(core, contexts, plan.tokens, moments))
            beside.append(ceilings.read_bandwidth if moments is None else moments.bandwidth())
        passes = [_decode_window(timings) for timings in repeats]
        return [
            self._prefill(batch, depth, repeats, ceilings),
            self._decode(batch, depth, [batch / each for each in passes], beside),
        ]

    def _contexts(self, core: EngineCore, batch: int, depth: int) -> list[Prompt]:
        """What is in the cache before, computed now."""
        contexts = [random_prompt(self._numbers, self._vocab, depth) for _ in range(batch)]
        if depth:
            # A prompt's last page is kept only once it is full and something follows.
            play(core, contexts, 1)
        return contexts

    def _once(
        self,
        core: EngineCore,
        contexts: Sequence[Prompt],
        tokens: int,
        moments: Moments | None = None,
    ) -> list[RequestTiming]:
        prompts = [
            context + random_prompt(self._numbers, self._vocab, self._plan.prompt)
            for context in contexts
        ]
        cached = len(contexts[0])
        sampling = self._plan.sampling()
        if moments is None:
            return play(core, prompts, tokens, cached_tokens=cached, sampling=sampling)
        return play(
            core, prompts, tokens, cached_tokens=cached, sampling=sampling,
            clock=moments.clock, between_steps=moments.between_steps,
        )  # fmt: skip

    def _prefill(
        self, batch: int, depth: int, repeats: list[list[RequestTiming]], ceilings: Ceilings
    ) -> PrefillResult:
        prompt = self._plan.prompt
        seconds = [max(_ttft(one) for one in timings) for timings in repeats]
        firsts = [sum(_ttft(one) for one in timings) / batch for timings in repeats]
        flops = prefill_flops(self._subject.network.config, batch, prompt, depth)
        rate = _distribution([batch * prompt / each for each in seconds])
        return PrefillResult(
            test=f"pp{prompt}",
            batch=batch,
            depth=depth,
            tokens_per_second=rate,
            ttft_ms=_distribution([each * 1e3 for each in firsts]),
            flops=flops,
            share=flops * rate.mean / (batch * prompt) / ceilings.matrix_rate,
        )

    def _decode(
        self, batch: int, depth: int, rates: list[float], bandwidths: list[float]
    ) -> DecodeResult:
        plan, config = self._plan, self._subject.network.config
        itemsize = self._subject.dtype.itemsize
        weights = weight_bytes(
            config, itemsize, batch, int8=self._subject.is_int8, fp8=self._subject.fp8_parts
        )
        context = depth + plan.prompt + plan.tokens / 2
        keys = kv_bytes(config, itemsize, batch, context, plan.kv_dtype)
        rate = _distribution(rates)
        # Passes a byte of the bandwidth.
        reads = mean(each / batch / beside for each, beside in zip(rates, bandwidths, strict=True))
        return DecodeResult(
            test=f"tg{plan.tokens}",
            batch=batch,
            depth=depth,
            tokens_per_second=rate,
            tpot_ms=_distribution([batch / each * 1e3 for each in rates]),
            weight_bytes=weights,
            kv_bytes=keys,
            read_bandwidth=mean(bandwidths),
            share=weights * reads,
            share_with_kv=(weights + keys) * reads,
        )


def _decode_window(timings: Sequence[RequestTiming]) -> float:
    """Seconds of a pass while every sequence gets a token from each.

    Raises:
        CapacityError: there is no such time.
    """
    begin = max(one.pieces[0] for one in timings)
    end = min(one.pieces[-1] for one in timings)
    passes = sum(begin < moment <= end for moment in timings[0].pieces)
    if passes == 0:
        raise CapacityError(
            f"{len(timings)} sequences do not make tokens side by side, since the first ends before "
            "the last begins; lower it or the depth, or raise --tokens or --chunk",
            field="batch",
        )
    return (end - begin) / passes


def _ttft(timing: RequestTiming) -> float:
    assert timing.ttft is not None, "every sequence gets a token"
    return timing.ttft


def _distribution(samples: Sequence[float]) -> Distribution:
    found = Distribution.of(samples)
    assert found is not None, "there is at least one repeat"
    return found
