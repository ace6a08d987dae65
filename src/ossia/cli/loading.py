"""Loading a model for a command: with progress, and threads that suit it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ossia.cli.options import CpuActivations, CpuWeights, Fp8Weights
from ossia.cli.output import Output
from ossia.env import threads_chosen
from ossia.garbage import collector_paused, freeze_garbage

if TYPE_CHECKING:
    from ossia.api.runtime import Runtime


def load_runtime(
    output: Output,
    model: str,
    *,
    dtype: str,
    device: str,
    revision: str | None,
    cpu_weights: CpuWeights,
    cpu_activations: CpuActivations,
    fp8_weights: Fp8Weights,
) -> Runtime:
    """What `Runtime.load` gives, with bars while it takes long, and what "auto" has chosen."""
    # Call it before anything else that brings torch in.
    with collector_paused():
        from ossia.api.runtime import ONE_AT_A_TIME, Runtime
        from ossia.api.threads import use_fitting_threads
        from ossia.model.quantizing import is_quantized

    config = replace(
        ONE_AT_A_TIME,
        cpu_weights=cpu_weights.value,
        cpu_activations=cpu_activations.value,
        fp8_weights=fp8_weights.value,
    )
    with output.progress() as progress:
        runtime = Runtime.load(
            model,
            dtype=dtype,
            device=device,
            revision=revision,
            config=config,
            progress=progress,
        )
    if cpu_weights is CpuWeights.AUTO:
        chosen = "int8" if is_quantized(runtime.network) else "nothing is rounded"
        output.note(f"--cpu-weights auto: {chosen}")
    if not threads_chosen():
        use_fitting_threads(runtime.network)
    freeze_garbage()
    return runtime
