"""Throughput: many requests queued at once, as `vllm bench throughput` has them."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace

import torch

from ossia.api.runtime import core_for
from ossia.bench.ceilings import Ceilings
from ossia.bench.load_metrics import LoadMetrics
from ossia.bench.memory import peak_device_bytes, peak_resident_bytes
from ossia.bench.passes import Pass, Roofline, note_passes
from ossia.bench.playing import Prompt, play, random_prompt
from ossia.bench.subject import Subject
from ossia.engine.config import CpuActivations, CpuWeights, EngineConfig, Fp8Weights, KVDtype
from ossia.engine.core import EngineCore
from ossia.errors import RequestError
from ossia.tokenizer import special

_TRACED_STEPS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputPlan:
    """What to run.

    Args:
        num_prompts: Requests, all there from the beginning.
        input_len: Prompt tokens of each.
        output_len: Tokens made for each, whatever they are.
        max_sequences: That run side by side; further ones wait.
        chunk: Tokens of one forward pass at most.
        seed: Of the random ids.
        cpu_weights: Of attention and the unembedding on the CPU, as `EngineConfig` has them.
        cpu_activations: What enters products on the CPU, as `EngineConfig` has it.
        fp8_weights: Which matrices are rounded on CUDA, as `EngineConfig` has it.
        fp8_prefill: Whether passes of many tokens compute in 8-bit floats on CUDA, as `EngineConfig` has it.
        kv_dtype: How keys and values are stored, as `EngineConfig` has it.
        deterministic: As `EngineConfig` has it.

    Raises:
        RequestError: a value is out of range; names the field.
    """

    num_prompts: int
    input_len: int
    output_len: int
    max_sequences: int
    chunk: int
    seed: int = 0
    cpu_weights: CpuWeights = "bf16"
    cpu_activations: CpuActivations = "full"
    fp8_weights: Fp8Weights = "none"
    fp8_prefill: bool = False
    kv_dtype: KVDtype = "auto"
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name in ("num_prompts", "input_len", "output_len", "max_sequences", "chunk"):
            if getattr(self, name) < 1:
                raise RequestError(
                    f"{getattr(self, name)} is too few; at least 1", field=name.replace("_", "-")
                )


def default_plan(device: torch.device) -> ThroughputPlan:
    """What suits a device."""
    if device.type == "cuda":
        return ThroughputPlan(
            num_prompts=512, input_len=1024, output_len=512, max_sequences=512, chunk=8192
        )
    return ThroughputPlan(num_prompts=16, input_len=64, output_len=32, max_sequences=8, chunk=2048)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputResult:
    """What came of it.

    Args:
        metrics: Times from the moment when all requests were queued, so waiting counts.
        steps: Forward passes.
        preemptions: Requests that lost their place in the KV cache and began again.
        peak_resident_bytes: Of this process on the host.
        peak_device_bytes: Of tensors on the GPU; None on the CPU.
        roofline: What the passes needed of the device; None until its ceilings are known.
    """

    metrics: LoadMetrics
    steps: int
    preemptions: int
    peak_resident_bytes: int
    peak_device_bytes: int | None
    roofline: Roofline | None = None


class ThroughputBench:
    """Runs requests through an engine of its own.

    Args:
        subject: The model.
        plan: What to run.

    Raises:
        RequestError: the model's context is too short; names the field.
    """

    def __init__(self, subject: Subject, plan: ThroughputPlan) -> None:
        self._subject, self._plan = subject, plan
        config = subject.network.config
        self._vocab = min(special.LAST_LISTED + 1, config.vocab_size)
        self._numbers = random.Random(plan.seed)
        self._passes: list[Pass] = []
        length = plan.input_len + plan.output_len
        if length > config.max_position_embeddings:
            raise RequestError(
                f"{plan.input_len} and {plan.output_len} output tokens exceed the model's context "
                f"of {config.max_position_embeddings}",
                field="input-len",
            )
        self._config = EngineConfig(
            max_sequences=plan.max_sequences,
            max_batch_tokens=max(plan.chunk, plan.max_sequences),
            prefill_chunk=plan.chunk,
            max_context=length,
            cpu_weights=plan.cpu_weights,
            cpu_activations=plan.cpu_activations,
            fp8_weights=plan.fp8_weights,
            fp8_prefill=plan.fp8_prefill,
            kv_dtype=plan.kv_dtype,
            deterministic=plan.deterministic,
            prefix_reuse=False,
        )

    def run(self) -> ThroughputResult:
        """Warm up, then measure.

        Raises:
            OssiaError: a forward pass failed, or a request finds no room at all.
        """
        core = core_for(self._subject.network, self._config)
        self._warm_up(core)
        before = core.stats()
        prompts = self._prompts(self._plan.num_prompts)
        self._passes = note_passes(core)
        begun = time.perf_counter()
        timings = play(core, prompts, self._plan.output_len)
        duration = time.perf_counter() - begun
        after = core.stats()
        return ThroughputResult(
            metrics=LoadMetrics.of(timings, duration),
            steps=after.steps - before.steps,
            preemptions=after.preemptions - before.preemptions,
            peak_resident_bytes=peak_resident_bytes(),
            peak_device_bytes=peak_device_bytes(self._subject.device),
        )

    def compared(self, result: ThroughputResult, ceilings: Ceilings) -> ThroughputResult:
        """The result of the last run beside what the device allows.

        Args:
            result: Of it.
            ceilings: Of the same device.
        """
        passes, duration = self._passes, result.metrics.duration
        roofline = Roofline.of(passes, self._subject, self._plan.kv_dtype, ceilings, duration)
        return replace(result, roofline=roofline)

    def trace(self) -> None:
        """The first forward passes of the same load, for a profiler."""
        core = core_for(self._subject.network, replace(self._config))
        prompts = self._prompts(self._plan.num_prompts)
        play(core, prompts, self._plan.output_len, max_steps=_TRACED_STEPS)

    def _warm_up(self, core: EngineCore) -> None:
        """As many requests as run side by side, ending one after the other.

        So every number of them is met, for which kernels are compiled and graphs are made.
        """
        side_by_side = min(self._plan.num_prompts, self._plan.max_sequences)
        lengths = [min(2 + number, self._plan.output_len) for number in range(side_by_side)]
        play(core, self._prompts(side_by_side), lengths)

    def _prompts(self, number: int) -> list[Prompt]:
        return [
            random_prompt(self._numbers, self._vocab, self._plan.input_len) for _ in range(number)
        ]
