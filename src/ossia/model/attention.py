"""Attention: projections around the attention kernels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from ossia.config import LayerType, ModelConfig
from ossia.kernels import fp8
from ossia.kernels.attention import attend, attend_paged, attend_ragged, attend_with_weights
from ossia.kernels.cpu import in_large_pages, page_out
from ossia.kernels.dense import linear
from ossia.kernels.kv_write import rotate_and_write
from ossia.kernels.rope import apply_rope
from ossia.model.batch import ForwardBatch, PagedKV
from ossia.model.layers import Linear
from ossia.model.padded_kv import PaddedKV
from ossia.model.recording import Recording


class RoundedProjections(NamedTuple):
    """A layer's projections in 8-bit floats, for many tokens (model/fp8_prefill.py).

    Args:
        inputs: Of queries, keys and values, one below the other.
        out: Of what attention gives.
    """

    inputs: fp8.ScaledFp8
    out: fp8.ScaledFp8


class Attention(nn.Module):
    """Grouped-query attention with sinks; slides on layers whose type says so.

    Attributes:
        rounded: A copy of its projections, for batches that ask for it. New weights drop it.
    """

    def __init__(self, config: ModelConfig, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.layer_type: LayerType = config.layer_types[layer_idx]
        self.window = config.window_of(layer_idx)
        self.head_dim = config.head_dim
        q_size = config.num_attention_heads * config.head_dim
        kv_size = config.num_key_value_heads * config.head_dim
        bias = config.attention_bias
        self.q_proj = Linear(config.hidden_size, q_size, bias=bias)
        self.k_proj = Linear(config.hidden_size, kv_size, bias=bias)
        self.v_proj = Linear(config.hidden_size, kv_size, bias=bias)
        self.o_proj = Linear(q_size, config.hidden_size, bias=bias)
        self.sinks = nn.Parameter(torch.zeros(config.num_attention_heads))
        self.rounded: RoundedProjections | None = None
        self.register_load_state_dict_pre_hook(_before_loading)
        self._all_projections: tuple[_Weight, torch.Tensor | None] | None = None

    def join_projections(self) -> None:
        """Lay the weights of queries, keys and values one behind the other, for one product of all.

        They stay parameters of their own: views of one tensor. So do their biases. Weights of 8 bits
        lie that way from the beginning. Nothing is done twice.
        """
        parts = (self.q_proj, self.k_proj, self.v_proj)
        if self._all_projections is not None and _are_views(parts, *self._all_projections):
            return
        biases = [part.bias for part in parts] if self.q_proj.bias is not None else []
        bias = _joined(biases) if biases else None
        matrices = [part.fp8 for part in parts if part.fp8 is not None]
        if matrices:
            self._all_projections = (fp8.adjoining(matrices), bias)
        elif self.q_proj.int8 is None:
            self._all_projections = (_joined([part.weight for part in parts]), bias)

    def _project(
        self, x: torch.Tensor, rounded: RoundedProjections | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values: (tokens, heads or kv_heads, head_dim), rows maybe apart."""
        parts = (self.q_proj, self.k_proj, self.v_proj)
        joined = self._all_projections
        if rounded is not None:
            bias = (
                torch.cat([part.bias for part in parts]) if self.q_proj.bias is not None else None
            )
            joint = fp8.linear_rounded(x, rounded.inputs, bias)
            q, k, v = joint.split([part.out_features for part in parts], dim=-1)
        elif joined is not None and _are_views(parts, *joined) and not torch.is_grad_enabled():
            weight, bias = joined
            sizes = [part.out_features for part in parts]
            if isinstance(weight, fp8.Fp8Matrix):
                joint = fp8.linear(x, weight, bias)
            else:
                joint = linear(x, weight, bias)
            q, k, v = joint.split(sizes, dim=-1)
        else:
            q, k, v = (part(x) for part in parts)
        return (
            q.unflatten(-1, (-1, self.head_dim)),
            k.unflatten(-1, (-1, self.head_dim)),
            v.unflatten(-1, (-1, self.head_dim)),
        )

    def forward(
        self, x: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor], batch: ForwardBatch
    ) -> torch.Tensor:
        """(tokens, hidden) to the same; writes keys and values where the batch has a cache."""
        rounded = self.rounded if batch.fp8_prefill and fp8.takes(x) else None
        if isinstance(batch.kv, PagedKV):
            mixed = self.mix_paged(x, rope, batch.seq_lens, batch.kv, rounded)
            return self._project_out(mixed, rounded)
        q, k, v = self._project(x, rounded)
        q, k = apply_rope(q, *rope), apply_rope(k, *rope)
        if batch.kv is None:
            out = attend_ragged(q, k, v, batch.positions, batch.seq_lens, self.sinks, self.window)
        else:
            out = self._attend_padded(q, k, v, batch.kv, batch.recording)
        return self._project_out(out.flatten(1), rounded)

    def _project_out(self, mixed: torch.Tensor, rounded: RoundedProjections | None) -> torch.Tensor:
        if rounded is None:
            return self.o_proj(mixed)
        return fp8.linear_rounded(mixed, rounded.out, self.o_proj.bias)

    def mix_paged(
        self,
        x: torch.Tensor,
        rope: tuple[torch.Tensor, torch.Tensor],
        query_lens: list[int],
        kv: PagedKV,
        rounded: RoundedProjections | None = None,
    ) -> torch.Tensor:
        """All of `forward` but the output projection, over pages.

        Args:
            x: (tokens, hidden).
            rope: Cosines and sines of the tokens, (tokens, head_dim / 2) both.
            query_lens: Tokens of each sequence; where `kv` has blocks nobody asks for it.
            kv: Where keys and values are, and where those of these tokens go.
            rounded: What is used in place of the projections.

        Returns:
            (tokens, heads * head_dim).
        """
        q, k, v = self._project(x, rounded)
        k_pages, v_pages = kv.k_pages[self.layer_idx], kv.v_pages[self.layer_idx]
        q = rotate_and_write(q, k, v, rope, (k_pages, v_pages), kv.slots[self.layer_type])
        return attend_paged(
            q,
            k_pages,
            v_pages,
            kv.page_tables[self.layer_type],
            query_lens,
            kv.context_lens,
            self.sinks,
            self.window,
            kv.blocks,
        ).flatten(1)

    def _attend_padded(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        kv: PaddedKV,
        recording: Recording | None,
    ) -> torch.Tensor:
        keys, values = kv.extend(self.layer_idx, k, v)  # (batch, past + new, kv_heads, head_dim)
        key_positions, query_positions = kv.key_positions, kv.query_positions()
        queries = kv.spread(q)  # (batch, new, heads, head_dim)
        if recording is not None and recording.attentions:
            out, weights = attend_with_weights(
                queries, keys, values, query_positions, key_positions, self.sinks, self.window
            )
            recording.attention_weights[self.layer_idx] = weights
            return kv.gather(out)
        # Keys that lie before the first query's window need not be looked at.
        first = 0 if self.window is None else max(0, kv.past_len - self.window + 1)
        out = attend(
            queries,
            keys[:, first:],
            values[:, first:],
            query_positions,
            key_positions[:, first:],
            self.sinks,
            self.window,
        )
        return kv.gather(out)


def _before_loading(module: nn.Module, *args: object) -> None:
    del args
    assert isinstance(module, Attention)
    module.rounded = None


_Weight = torch.Tensor | fp8.Fp8Matrix


def _held(part: nn.Linear) -> torch.Tensor:
    """What its weights lie in."""
    matrix = part.fp8 if isinstance(part, Linear) else None
    return part.weight if matrix is None else matrix.codes


def _joined(params: Sequence[torch.Tensor]) -> torch.Tensor:
    """One tensor of all; each becomes its view of it."""
    joined = in_large_pages(torch.cat([param.data for param in params]))
    parts = joined.split([len(param) for param in params])
    for param, part in zip(params, parts, strict=True):
        former, param.data = param.data, part
        page_out(former)
    return joined


def _are_views(parts: Sequence[nn.Linear], weight: _Weight, bias: torch.Tensor | None) -> bool:
    """Whether nobody has given one of the projections another tensor since they were joined."""
    whole = weight.codes if isinstance(weight, fp8.Fp8Matrix) else weight
    params = [(_held(part), whole) for part in parts]
    params += [(part.bias, bias) for part in parts if bias is not None]
    return all(
        param.untyped_storage().data_ptr() == joined.untyped_storage().data_ptr()
        for param, joined in params
    )
