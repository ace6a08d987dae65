"""CpuDecoder: all layers over new tokens of sequences in pages, as one call of the CPU kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from ossia.config import LayerType
from ossia.kernels.backend import choose
from ossia.kernels.cpu import load, num_threads
from ossia.kernels.cpu.calls import DecoderCall, DecoderLayerArguments, MatrixArguments
from ossia.model.attention import Attention
from ossia.model.batch import ForwardBatch, PagedKV
from ossia.model.fp8_weights import rounded_parts
from ossia.model.heads import CausalLM
from ossia.model.layers import Linear
from ossia.model.moe import Experts
from ossia.model.quantizing import is_quantized
from ossia.model.transformer import DecoderLayer

_OPERATIONS = ("dense", "norm", "kv_write", "attention", "moe")
_MAX_TOKENS = 64  # of a batch with matrices in bfloat16: torch's products of more tokens are faster
_Pages = tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]


def why_not(model: CausalLM, kv_dtype: torch.dtype) -> str | None:
    """Why a model's layers cannot run as one call; None where they can."""
    for operation in _OPERATIONS:
        for implementation, reason in choose(operation, torch.device("cpu")).passed_over:
            if implementation.name == "cpu":
                return reason
    if any(param.device.type != "cpu" for param in model.parameters()):
        return "needs all weights on the CPU"
    floats = [param for param in model.parameters() if param.dtype is not torch.uint8]
    if any(weight.dtype is not torch.bfloat16 for weight in floats):
        return "needs bfloat16 weights"
    if kv_dtype not in (torch.bfloat16, torch.int8):
        return "needs a KV cache in bfloat16 or int8"
    if any(not module.interleaved for module in model.modules() if isinstance(module, Experts)):
        return "needs experts in MXFP4"
    if any(type(part) is not Linear for part in model.modules() if isinstance(part, nn.Linear)):
        return "needs plain linear layers"
    if rounded_parts(model):
        return "needs weights that are no 8-bit floats"
    return None


class CpuDecoder:
    """What `Decoder.run` computes, for batches over pages.

    Weights are laid where a CPU reads them fastest, and used there: who replaces one makes a new
    CpuDecoder.

    Args:
        model: `why_not` has nothing against it.
    """

    def __init__(self, model: CausalLM) -> None:
        self._config, self._decoder = model.config, model.model
        self._max_tokens = 2**62 if is_quantized(model) else _MAX_TOKENS
        if isinstance(model.lm_head, Linear):
            model.lm_head.settle()
        self._kept: list[torch.Tensor] = []  # what pointers lead to
        self._pages: _Pages | None = None
        layers = self._decoder.layers
        self._layers = (DecoderLayerArguments * len(layers))()
        for arguments, layer in zip(self._layers, layers, strict=True):
            assert isinstance(layer, DecoderLayer)
            self._point_to(arguments, layer)

    def takes(self, batch: ForwardBatch) -> bool:
        """Whether a batch can run this way."""
        return (
            isinstance(batch.kv, PagedKV)
            and batch.recording is None
            and batch.inputs_embeds is None
            and 0 < len(batch.input_ids) <= self._max_tokens
        )

    def run(self, batch: ForwardBatch) -> torch.Tensor:
        """As `Decoder.run`: bfloat16 (tokens, hidden) after the final norm.

        Raises:
            KernelError: memory is out.
        """
        kernels, kv = load(), batch.kv
        assert kernels is not None
        assert isinstance(kv, PagedKV)
        self.use_pages((kv.k_pages, kv.v_pages), list(kv.page_tables))
        x = self._decoder.embed_tokens(batch.input_ids)
        cos, sin = (part.contiguous() for part in self._decoder.rotary(batch.positions))
        query_lens, context_lens = torch.tensor([batch.seq_lens, kv.context_lens])
        tables = list(kv.page_tables.values())
        slots = [kv.slots[kind] for kind in kv.page_tables]
        call = DecoderCall(
            x=x.data_ptr(), cos=cos.data_ptr(), sin=sin.data_ptr(),
            query_lens=query_lens.data_ptr(), context_lens=context_lens.data_ptr(),
            slots=two_pointers(some.data_ptr() for some in slots),
            page_tables=two_pointers(table.data_ptr() for table in tables),
            max_pages=(ctypes.c_int64 * 2)(*(table.stride(0) for table in tables)),
            seqs=len(batch.seq_lens), tokens=len(x), activations=int(batch.int8_activations),
            threads=num_threads(), **self.constants(),
        )  # fmt: skip
        kernels.call("ossia_run_decoder", ctypes.byref(call))
        return x

    def constants(self) -> dict[str, Any]:
        """What is the same in every DecoderCall, once `use_pages` was called."""
        assert self._pages is not None
        config, pages = self._config, self._pages[0][0]
        return {
            "layers": ctypes.addressof(self._layers),
            "final_norm": self._decoder.norm.weight.data_ptr(),
            "num_layers": len(self._layers),
            "hidden": config.hidden_size,
            "heads": config.num_attention_heads,
            "kv_heads": config.num_key_value_heads,
            "head_dim": config.head_dim,
            "page_size": pages.shape[1],
            "int8_pages": pages.dtype is torch.int8,
            "experts": config.num_experts,
            "ffn": config.intermediate_size,
            "top_k": config.experts_per_token,
            "eps": config.rms_norm_eps,
            "alpha": config.swiglu_alpha,
            "limit": config.swiglu_limit,
        }

    def use_pages(self, pages: _Pages, kinds: Sequence[LayerType]) -> None:
        """Take keys and values from there; nothing is done twice.

        Args:
            pages: Keys and values of each layer.
            kinds: Layer types in the order of the calls' tables.
        """
        if self._pages is not None and all(map(_same, self._pages, pages)):
            return
        self._pages = pages
        for idx, (arguments, k_pages, v_pages) in enumerate(zip(self._layers, *pages, strict=True)):
            arguments.k_pages, arguments.v_pages = k_pages.data_ptr(), v_pages.data_ptr()
            arguments.kind = kinds.index(self._config.layer_types[idx])

    def _point_to(self, arguments: DecoderLayerArguments, layer: DecoderLayer) -> None:
        attention, moe = layer.self_attn, layer.mlp
        attention.join_projections()
        attention.o_proj.settle()
        experts = moe.experts
        for name, param in (
            ("input_norm", layer.input_layernorm.weight),
            ("sinks", attention.sinks),
            ("post_norm", layer.post_attention_layernorm.weight),
            ("gate_up_codes", experts.gate_up_proj_blocks),
            ("gate_up_scales", experts.gate_up_proj_scales),
            ("gate_up_bias", experts.gate_up_proj_bias),
            ("down_codes", experts.down_proj_blocks),
            ("down_scales", experts.down_proj_scales),
            ("down_bias", experts.down_proj_bias),
        ):
            setattr(arguments, name, self._pointer(param))
        arguments.qkv = self._joined(attention)
        arguments.output = self._matrix(attention.o_proj)
        arguments.router = self._matrix(moe.router)
        arguments.window = attention.window or 0

    def _joined(self, attention: Attention) -> MatrixArguments:
        """Queries', keys' and values' matrices, one behind the other."""
        first = self._matrix(attention.q_proj)
        first.rows += attention.k_proj.out_features + attention.v_proj.out_features
        return first

    def _matrix(self, layer: Linear) -> MatrixArguments:
        bias = None if layer.bias is None else self._pointer(layer.bias)
        if layer.int8 is None:
            return MatrixArguments(
                weight=self._pointer(layer.weight), bias=bias, rows=layer.out_features
            )
        codes, scales = layer.int8
        return MatrixArguments(
            weight=self._pointer(codes),
            scales=self._pointer(scales),
            bias=bias,
            rows=layer.out_features,
        )

    def _pointer(self, tensor: torch.Tensor) -> int:
        assert tensor.is_contiguous()
        self._kept.append(tensor.data)
        return tensor.data_ptr()


def two_pointers(pointers: Iterator[int]) -> ctypes.Array[ctypes.c_void_p]:
    """Of a field that has one for each group of layers."""
    return (ctypes.c_void_p * 2)(*pointers)


def _same(left: tuple[torch.Tensor, ...], right: tuple[torch.Tensor, ...]) -> bool:
    return left is right or all(one is other for one, other in zip(left, right, strict=True))
