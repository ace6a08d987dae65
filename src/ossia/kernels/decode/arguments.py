"""The parameters of the CUDA kernels, field for field as csrc/cuda declares them."""

from __future__ import annotations

import ctypes

import torch

_P, _U, _F = ctypes.c_void_p, ctypes.c_uint, ctypes.c_float


def _structure(name: str, **fields: object) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": list(fields.items())})


Dense = _structure(
    "Dense", w=_P * 3, x=_P, y=_P, tile_end=_U * 3, rows=_U, steps=_U, tokens=_U, parts=_U
)
Slab = _structure(
    "Slab", w=_P * 3, x=_P, y=_P, row_end=_U * 3, rows=_U, steps=_U, tokens=_U, stride=_U, held=_U,
    flight=_U,
)  # fmt: skip
Fp8 = _structure("Fp8", w=_P, scales=_P, x=_P, y=_P, rows=_U, chunks=_U, tokens=_U)
Stream = _structure("Stream", w=_P, x=_P, y=_P, rows=_U, steps=_U, tokens=_U, stride=_U)
Experts = _structure(
    "Experts", blocks=_P, scales=_P, bias=_P, logits=_P, positions=_P, x=_P, y=_P,
    tokens=_U, experts=_U, top_k=_U, tiles=_U, units=_U, rows=_U, out_stride=_U, parts=_U,
    alpha=_F, limit=_F,
)  # fmt: skip
Matrix = _structure("Matrix", blocks=_P, scales=_P, bias=_P, tiles=_U, units=_U, rows=_U)
Several = _structure(
    "Several", up=Matrix, down=Matrix, x=_P, inner=_P, y=_P, slots=_P, items=_P, num_items=_P, weights=_P,
    logits=_P, positions=_P, arrivals=_P, tokens=_U, experts=_U, top_k=_U, stages=_U, stage=_U, flight=_U, alpha=_F, limit=_F,
)  # fmt: skip
Dozens = _structure(
    "Dozens", up=Matrix, down=Matrix, x=_P, inner=_P, y=_P, slots=_P, items=_P, num_items=_P, weights=_P,
    arrivals=_P, tokens=_U, top_k=_U, stages=_U, alpha=_F, limit=_F,
)  # fmt: skip
Attention = _structure(
    "Attention", qkv=_P, bias=_P * 3, rope=_P, sinks=_P, positions=_P, table=_P, width=_P,
    keys=_P, values=_P, out=_P, scratch=_P, arrivals=_P,
    tokens=_U, parts=_U, heads=_U, kv_heads=_U, page_size=_U, window=_U, groups=_U, group=_U,
)  # fmt: skip
Norm = _structure(
    "Norm", before=_P, ids=_P, parts=_P, bias=_P, weight=_P, after=_P, normed=_P, router=_P,
    router_bias=_P, logits=_P, positions=_P, frequencies=_P, rope=_P,
    tokens=_U, hidden=_U, num_parts=_U, stride=_U, experts=_U, places=_U, dry=_U,
    eps=_F, scale=_F, concentration=_F,
)  # fmt: skip
Argmax = _structure(
    "Argmax", logits=_P, best=_P, arrivals=_P, ids=_P, positions=_P, out=_P,
    tokens=_U, vocab=_U, end=_U,
)  # fmt: skip
Draw = _structure(
    "Draw", logits=_P, chances=_P, uniforms=_P, best=_P, weights=_P, ids=_P, positions=_P, out=_P, sets=_P, tokens=_U, vocab=_U,
    end=_U, set_bytes=_U, slices=_U,
)  # fmt: skip
Expand = _structure(
    "Expand", blocks=_P, scales=_P, out=_P, tiles=_U, units=_U, columns=_U, paired=_U
)

Dispatch = _structure(
    "Dispatch", logits=_P, bias=_P, positions=_P, ids=_P, weights=_P, slots=_P, items=_P, num_items=_P,
    tokens=_U, experts=_U, top_k=_U, width=_U, scale=_F,
)  # fmt: skip
Routed = _structure(
    "Routed", blocks=_P, scales=_P, bias=_P, x=_P, y=_P, slots=_P, items=_P, num_items=_P,
    weights=_P, tokens=_U, top_k=_U, tiles=_U, units=_U, rows=_U, out_stride=_U,
    alpha=_F, limit=_F,
)  # fmt: skip

Wide = _structure(
    "Wide", blocks=_P, scales=_P, bias=_P, x=_P, y=_P, slots=_P, items=_P, num_items=_P, weights=_P,
    tokens=_U, top_k=_U, tiles=_U, units=_U, rows=_U, out_stride=_U, alpha=_F, limit=_F,
)  # fmt: skip


def address(tensor: torch.Tensor | None) -> int | None:
    """Where a contiguous tensor begins; None stays a null pointer."""
    if tensor is None:
        return None
    assert tensor.is_cuda or tensor.is_pinned(), tensor.device
    assert tensor.is_contiguous(), (tensor.shape, tensor.stride())
    return tensor.data_ptr()
