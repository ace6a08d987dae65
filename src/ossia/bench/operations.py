"""The operations of a decode step, each timed by itself, with whatever kernels the device chooses.

Runs wherever the model does. Where a step is one CUDA graph, `launches` tells more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ossia.bench.kernel_time import KernelTime, StepTimes
from ossia.bench.roofline import kv_bytes
from ossia.bench.timing import median_seconds
from ossia.config import LayerType, ModelConfig
from ossia.kernels.attention import attend_paged, blocks_for
from ossia.kernels.kv_write import rotate_and_write
from ossia.kernels.moe import run_experts
from ossia.kernels.routing import route
from ossia.kernels.sampling import sample
from ossia.model.batch import ForwardBatch, PagedKV
from ossia.model.heads import CausalLM
from ossia.model.transformer import DecoderLayer

_PAGE_SIZE = 16
Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Operation:
    """One kind of operation.

    Args:
        name: What it does.
        calls: Each time that a step does it, on that place's weights.
        nbytes: Of weights, keys and values that all calls together have to read; None where there are none.
    """

    name: str
    calls: Sequence[Call]
    nbytes: float | None = None


@torch.inference_mode()
def time_operations(
    model: CausalLM, batch: int, context: int, bandwidth: float, repeats: int
) -> StepTimes:
    """Time a step of a model that is on its device.

    Args:
        model: Any; its weights are only read.
        batch: Sequences.
        context: Tokens of each, the new one included.
        bandwidth: Bytes a second that the device reads.
        repeats: Times that each is run; medians count.
    """
    device = model.lm_head.weight.device
    step = batch_of(model, batch, context)
    operations, distinct = operations_of(model, step)
    kernels: list[KernelTime] = []
    for operation in operations:
        calls = operation.calls
        seconds = median_seconds(partial(_run_all, calls), device, repeats) / len(calls)
        each = None if operation.nbytes is None else operation.nbytes / len(calls)
        kernels.append(KernelTime.of(operation.name, len(calls), seconds, each, bandwidth))
    whole = median_seconds(lambda: _likeliest(model(step)), device, repeats)
    keys = kv_bytes(model.config, model.lm_head.weight.itemsize, batch, context)
    weights = sum(operation.nbytes or 0.0 for operation in operations) - keys
    return StepTimes.of(
        "operations", batch, context, distinct, kernels, whole, weights, bandwidth, keys
    )


def batch_of(model: CausalLM, batch: int, context: int) -> ForwardBatch:
    """A decode step over random keys and values: `batch` sequences of `context` tokens.

    Args:
        model: Says shape, dtype and device.
        batch: Sequences.
        context: Tokens of each, the new one included.
    """
    config, weight = model.config, model.lm_head.weight
    device = weight.device
    each = -(-context // _PAGE_SIZE)
    shape = (batch * each, _PAGE_SIZE, config.num_key_value_heads, config.head_dim)

    def pages() -> tuple[torch.Tensor, ...]:
        return tuple(
            torch.randn(shape, dtype=weight.dtype, device=device) for _ in config.layer_types
        )

    table = torch.arange(batch * each, dtype=torch.int32, device=device).view(batch, each)
    last = context - 1
    slots = table[:, last // _PAGE_SIZE].long() * _PAGE_SIZE + last % _PAGE_SIZE
    groups: set[LayerType] = set(config.layer_types)
    blocks = blocks_for(
        [1] * batch,
        [context] * batch,
        config.num_attention_heads,
        config.num_key_value_heads,
        device,
    )
    kv = PagedKV(
        k_pages=pages(),
        v_pages=pages(),
        page_tables=dict.fromkeys(groups, table),
        slots=dict.fromkeys(groups, slots),
        context_lens=[context] * batch,
        blocks=None if blocks is None else blocks.to(device),
    )
    return ForwardBatch(
        input_ids=torch.randint(0, config.vocab_size, (batch,), device=device),
        positions=torch.full((batch,), last, device=device),
        seq_lens=[1] * batch,
        kv=kv,
    )


def operations_of(model: CausalLM, step: ForwardBatch) -> tuple[list[Operation], float]:
    """Every operation of a step but the sums, and how many experts of a layer are chosen.

    Args:
        model: On its device.
        step: What `batch_of` gave for it.
    """
    decoder, config, weight = model.model, model.config, model.lm_head.weight
    layers: list[DecoderLayer] = list(decoder.layers)  # pyright: ignore[reportAssignmentType]
    norms = [decoder.norm]
    for layer in layers:
        norms += [layer.input_layernorm, layer.post_attention_layernorm]
    shape = (len(step.seq_lens), config.hidden_size)
    x = torch.randn(shape, dtype=weight.dtype, device=weight.device)
    scores = model.lm_head(x)
    experts, distinct = _experts(config, layers, x)
    return [
        Operation("embedding", [partial(decoder.embed_tokens, step.input_ids)], x.nbytes),
        Operation("rope table", [partial(decoder.rotary, step.positions)]),
        Operation("norm", [partial(norm, x) for norm in norms], _nbytes(norms)),
        *_attention(model, layers, x, step),
        *experts,
        Operation("unembedding", [partial(model.lm_head, x)], weight.nbytes),
        Operation("argmax", [partial(_likeliest, scores)]),
    ], distinct


def _likeliest(logits: torch.Tensor) -> torch.Tensor:
    """As the engine takes it: in float32."""
    return sample(logits.float(), [None] * len(logits))[0]


def _attention(
    model: CausalLM, layers: Sequence[DecoderLayer], x: torch.Tensor, step: ForwardBatch
) -> list[Operation]:
    kv, rope = step.kv, model.model.rotary(step.positions)
    assert isinstance(kv, PagedKV)
    projections: list[nn.Module] = []
    writes: list[Call] = []
    attends: list[Call] = []
    outputs: list[Call] = []
    for layer in layers:
        one = layer.self_attn
        parts = (one.q_proj, one.k_proj, one.v_proj)
        projections += parts
        q, k, v = (part(x).unflatten(-1, (-1, one.head_dim)) for part in parts)
        pages = (kv.k_pages[one.layer_idx], kv.v_pages[one.layer_idx])
        writes.append(
            partial(rotate_and_write, q.clone(), k, v, rope, pages, kv.slots[one.layer_type])
        )
        attends.append(
            partial(
                attend_paged, q, *pages, kv.page_tables[one.layer_type], step.seq_lens,
                kv.context_lens, one.sinks, one.window, kv.blocks,
            )
        )  # fmt: skip
        outputs.append(partial(one.o_proj, q.flatten(1)))
    keys = kv_bytes(model.config, x.itemsize, len(kv.context_lens), kv.context_lens[0])
    sinks = sum(layer.self_attn.sinks.nbytes for layer in layers)
    return [
        Operation("q, k, v", [partial(part, x) for part in projections], _nbytes(projections)),
        Operation("rope, KV write", writes),
        Operation("attention", attends, keys + sinks),
        Operation("output", outputs, _nbytes(layer.self_attn.o_proj for layer in layers)),
    ]


def _experts(
    config: ModelConfig, layers: Sequence[DecoderLayer], x: torch.Tensor
) -> tuple[list[Operation], float]:
    """And how many of a layer are chosen, on average."""
    logits = [layer.mlp.router(x) for layer in layers]
    runs: list[Call] = []
    nbytes, chosen = 0.0, 0
    for each, layer in zip(logits, layers, strict=True):
        weights, ids = route(each, config.experts_per_token)
        runs.append(partial(run_experts, x, ids, weights, layer.mlp.experts.weights()))
        count = len(ids.unique())
        nbytes += _nbytes([layer.mlp.experts]) / config.num_experts * count
        chosen += count
    routers = [layer.mlp.router for layer in layers]
    return [
        Operation("router", [partial(router, x) for router in routers], _nbytes(routers)),
        Operation("top k", [partial(route, each, config.experts_per_token) for each in logits]),
        Operation("experts", runs, nbytes),
    ], chosen / len(layers)


def _nbytes(modules: Iterable[nn.Module]) -> float:
    return float(sum(param.nbytes for module in modules for param in module.parameters()))


def _run_all(calls: Sequence[Call]) -> None:
    for call in calls:
        call()
