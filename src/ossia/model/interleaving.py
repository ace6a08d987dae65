"""Whether a model's experts run by the CPU kernels, and bringing them into the order of these."""

from __future__ import annotations

from ossia.kernels.backend import choose
from ossia.kernels.moe.cpu import DTYPES
from ossia.model.heads import CausalLM
from ossia.model.moe import Experts


def why_not(model: CausalLM) -> str | None:
    """Why a model's experts cannot run by the CPU kernels; None where they can."""
    parameters = list(model.parameters())
    if any(param.device.type != "cpu" for param in parameters):
        return "needs all weights on the CPU"
    for implementation, reason in choose("moe", parameters[0].device).passed_over:
        if implementation.name == "cpu":
            return reason
    experts = _experts(model)
    if any(not some.packed for some in experts):
        return "needs experts in MXFP4"
    if any(some.gate_up_proj_bias.dtype not in DTYPES for some in experts):
        return "needs a model in bfloat16 or float32"
    return None


def interleave_weights(model: CausalLM) -> None:
    """Bring the packed experts into the order of the CPU kernels, layer by layer; nothing twice.

    Args:
        model: `why_not` has nothing against it.
    """
    for some in _experts(model):
        some.interleave()


def _experts(model: CausalLM) -> list[Experts]:
    return [module for module in model.modules() if isinstance(module, Experts)]
