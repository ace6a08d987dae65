"""The experts as one operation that torch.compile does not look into.

How many tokens an expert gets is known only when they are there, so a traced graph would break at
every layer. Here the layer is a node of the graph instead, and the node runs what runs without
compilation. For gradients it computes the layer once more, by the reference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import library

from ossia.kernels.moe.reference import ExpertMatrix, ExpertWeights
from ossia.kernels.moe.reference import run_experts as run_reference
from ossia.kernels.mxfp4 import InterleavedMxfp4, Mxfp4Tensor, RelaidMxfp4

_FLOATS = 6  # arguments of `_forward` that may have gradients; they come first


def run_experts(
    x: torch.Tensor, expert_ids: torch.Tensor, weights: torch.Tensor, experts: ExpertWeights
) -> torch.Tensor:
    """As `ossia.kernels.moe.run_experts`, for use while a graph is being traced."""
    gate_up, gate_up_scales = _parts(experts.gate_up)
    down, down_scales = _parts(experts.down)
    return _forward(
        x,
        weights,
        gate_up,
        experts.gate_up_bias,
        down,
        experts.down_bias,
        expert_ids,
        gate_up_scales,
        down_scales,
        experts.alpha,
        experts.limit,
        isinstance(experts.gate_up, InterleavedMxfp4),
        experts.int8_activations,
    )


@library.custom_op("ossia::moe_layer", mutates_args=())
def _forward(
    x: torch.Tensor,
    weights: torch.Tensor,
    gate_up: torch.Tensor,
    gate_up_bias: torch.Tensor,
    down: torch.Tensor,
    down_bias: torch.Tensor,
    expert_ids: torch.Tensor,
    gate_up_scales: torch.Tensor | None,
    down_scales: torch.Tensor | None,
    alpha: float,
    limit: float,
    interleaved: bool,
    int8_activations: bool,
) -> torch.Tensor:
    from ossia.kernels.moe.choice import run_experts

    experts = _experts(
        gate_up,
        gate_up_bias,
        down,
        down_bias,
        gate_up_scales,
        down_scales,
        alpha,
        limit,
        interleaved,
        int8_activations,
    )
    return run_experts(x, expert_ids, weights, experts)


@_forward.register_fake
def _(x: torch.Tensor, *others: object) -> torch.Tensor:
    del others
    return torch.empty_like(x)


@library.custom_op("ossia::moe_layer_backward", mutates_args=())
def _backward(
    grad: torch.Tensor,
    wanted: list[bool],
    x: torch.Tensor,
    weights: torch.Tensor,
    gate_up: torch.Tensor,
    gate_up_bias: torch.Tensor,
    down: torch.Tensor,
    down_bias: torch.Tensor,
    expert_ids: torch.Tensor,
    gate_up_scales: torch.Tensor | None,
    down_scales: torch.Tensor | None,
    alpha: float,
    limit: float,
    interleaved: bool,
    int8_activations: bool,
) -> list[torch.Tensor]:
    """Gradients of the first arguments of `_forward`, of those only that are wanted."""
    floats = (x, weights, gate_up, gate_up_bias, down, down_bias)

    def run(*asked: torch.Tensor) -> torch.Tensor:
        given = iter(asked)
        parts = [next(given) if want else part for part, want in zip(floats, wanted, strict=True)]
        experts = _experts(
            parts[2],
            parts[3],
            parts[4],
            parts[5],
            gate_up_scales,
            down_scales,
            alpha,
            limit,
            interleaved,
            int8_activations,
        )
        return run_reference(parts[0], expert_ids, parts[1], experts)

    # Autograd is off inside an operation; functional differentiation is not.
    asked = [part for part, want in zip(floats, wanted, strict=True) if want]
    pull_back = torch.func.vjp(run, *asked)[1]
    return list(pull_back(grad))


@_backward.register_fake
def _(grad: torch.Tensor, wanted: list[bool], *arguments: torch.Tensor) -> list[torch.Tensor]:
    del grad
    floats = arguments[:_FLOATS]
    return [torch.empty_like(part) for part, want in zip(floats, wanted, strict=True) if want]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ANN401
    del output
    *tensors, ctx.alpha, ctx.limit, ctx.interleaved, ctx.int8_activations = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ANN401
    wanted = list(ctx.needs_input_grad[:_FLOATS])
    settings = (ctx.alpha, ctx.limit, ctx.interleaved, ctx.int8_activations)
    grads = iter(_backward(grad, wanted, *ctx.saved_tensors, *settings))
    floats = [next(grads) if want else None for want in wanted]
    return (*floats, None, None, None, None, None, None, None)


library.register_autograd("ossia::moe_layer", _differentiate, setup_context=_keep)


def _parts(matrix: ExpertMatrix) -> tuple[torch.Tensor, torch.Tensor | None]:
    if isinstance(matrix, Mxfp4Tensor | InterleavedMxfp4):
        return matrix.blocks, matrix.scales
    if isinstance(matrix, RelaidMxfp4):
        raise TypeError(
            "experts that an engine has relaid for its kernels cannot be compiled; "
            "load the model anew and compile it before an engine runs it"
        )
    return matrix, None


def _experts(
    gate_up: torch.Tensor,
    gate_up_bias: torch.Tensor,
    down: torch.Tensor,
    down_bias: torch.Tensor,
    gate_up_scales: torch.Tensor | None,
    down_scales: torch.Tensor | None,
    alpha: float,
    limit: float,
    interleaved: bool,
    int8_activations: bool,
) -> ExpertWeights:
    return ExpertWeights(
        gate_up=_matrix(gate_up, gate_up_scales, interleaved, paired=True),
        gate_up_bias=gate_up_bias,
        down=_matrix(down, down_scales, interleaved, paired=False),
        down_bias=down_bias,
        alpha=alpha,
        limit=limit,
        int8_activations=int8_activations,
    )


def _matrix(
    values: torch.Tensor, scales: torch.Tensor | None, interleaved: bool, *, paired: bool
) -> ExpertMatrix:
    if scales is None:
        return values
    if interleaved:
        return InterleavedMxfp4(values, scales, paired)
    return Mxfp4Tensor(values, scales)
