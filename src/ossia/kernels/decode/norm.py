"""add_and_norm: the residual stream, its norm, and the router or the rotary table beside it."""

from __future__ import annotations

import torch

from ossia.kernels.cuda import launch
from ossia.kernels.cuda.program import program
from ossia.kernels.decode.arguments import Norm, address
from ossia.kernels.decode.launching import FEW_TOKENS

_COLUMNS = 8  # of a thread
MAX_HIDDEN = 1024 * _COLUMNS


def add_and_norm(
    before: torch.Tensor,
    weight: torch.Tensor,
    eps: float,
    after: torch.Tensor,
    normed: torch.Tensor,
    *,
    ids: torch.Tensor | None = None,
    parts: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    scale: float = 1.0,
    router: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor] | None = None,
    rope: tuple[torch.Tensor, float, torch.Tensor, torch.Tensor] | None = None,
    in_places: bool = False,
    overlap: bool = True,
) -> None:
    """After = before + (parts' sum + bias); normed = scale * rms_norm(after), as kernels.norm.

    Args:
        before: bfloat16 (tokens, hidden), or with `ids` any number of rows.
        weight: bfloat16 (hidden,), the norm's.
        eps: Added to the mean square.
        after: bfloat16 (tokens, hidden), written.
        normed: bfloat16 (tokens, stride), stride at least hidden, written up to hidden.
        ids: int32 (tokens,): which rows of `before`, an embedding, are meant.
        parts: float32 (parts, tokens, hidden): what a product left.
        bias: bfloat16 (hidden,): the product's.
        scale: A power of two.
        router: Weight (experts, hidden), bias (experts,) or None, and float32 (tokens, experts),
            where the logits go, rounded to bfloat16.
        rope: float32 frequencies (32,), the concentration, int32 positions (tokens,), and float32
            (tokens, 2, 32), where cosines and sines go, as kernels.rope.rope_table makes them.
        in_places: Whether `normed` has its columns in the order of `wide.operand_places`; hidden is then
            a multiple of 32.
        overlap: False for the first kernel of a graph.
    """
    tokens, hidden = after.shape
    assert hidden % _COLUMNS == 0, hidden
    assert hidden <= MAX_HIDDEN, hidden
    assert not in_places or hidden % 32 == 0, hidden
    arguments = Norm(
        before=address(before), ids=address(ids), parts=address(parts), bias=address(bias),
        weight=address(weight), after=address(after), normed=address(normed), tokens=tokens,
        hidden=hidden, num_parts=0 if parts is None else len(parts), stride=normed.shape[1], eps=eps,
        scale=scale, places=in_places, dry=overlap and tokens <= FEW_TOKENS,
    )  # fmt: skip
    blocks, name = 1, "norm_plain"
    if router is not None:
        router_weight, router_bias, logits = router
        arguments.router, arguments.router_bias = address(router_weight), address(router_bias)
        arguments.logits, arguments.experts = address(logits), len(router_weight)
        routed = 2 if tokens <= FEW_TOKENS else 8  # experts of a block
        blocks, name = -(-len(router_weight) // routed), f"norm_route_{routed}"
    if rope is not None:
        frequencies, arguments.concentration, positions, table = rope
        arguments.frequencies, arguments.positions = address(frequencies), address(positions)
        arguments.rope = address(table)
    threads = -(-hidden // (_COLUMNS * 32)) * 32
    kernel = program("norm.cu", after.device)[f"{name}_{512 if threads <= 512 else 1024}"]
    launch(kernel, (blocks, tokens, 1), threads, 0, arguments, overlap=overlap)
