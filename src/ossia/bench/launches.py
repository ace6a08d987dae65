"""The launches of a decode step in CUDA: each kind as one graph, in its chain, and the whole step.

A kind's launches for all layers make one graph, so that weights come from memory. `in_place` is what
a launch adds to a graph of layers that are cut short after it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import partial

import torch

from ossia.bench.kernel_time import KernelTime, StepTimes
from ossia.bench.roofline import kv_bytes, launch_bytes
from ossia.bench.timing import graph_ms, replay_ms
from ossia.model.decode_chain import DecodeChain
from ossia.model.decode_step import DecodeStep
from ossia.model.heads import CausalLM

_PAGE_SIZE = 16
_ROOM = 64  # pages for what the step is run beyond its context
_FIRST = "embed"
_ONCE = (_FIRST, "unembedding", "argmax", "draw")  # a step, not a layer
Stage = tuple[str, Callable[[], None]]


@torch.inference_mode()
def time_launches(
    model: CausalLM, batch: int, context: int, bandwidth: float, repeats: int
) -> StepTimes:
    """Time a step.

    Args:
        model: On a GPU; `ossia.model.decode_step.why_not` has nothing against it.
        batch: Sequences, at most 512.
        context: Tokens of each, the new one included.
        bandwidth: Bytes a second that the device reads.
        repeats: Replays of each graph; medians count.
    """
    step, chain, replay = _prepared(model, batch, context)
    stages = chain.stages()
    distinct = _mean_distinct(chain, stages, batch)
    in_place = _in_place(stages, repeats)
    kernels: list[KernelTime] = []
    for name in dict.fromkeys(name for name, _ in stages):
        calls = [launch for other, launch in stages if other == name]
        seconds = graph_ms(partial(_run_all, calls), repeats) * 1e-3 / len(calls)
        # All launches of the experts use the router's logits as they are now.
        nbytes = launch_bytes(model.config, _distinct(chain, batch), batch, context).get(name)
        kernels.append(
            KernelTime.of(name, len(calls), seconds, nbytes, bandwidth, in_place.get(name))
        )
    whole = replay_ms(replay, repeats) * 1e-3
    each = launch_bytes(model.config, distinct, batch, context)
    keys = kv_bytes(model.config, 2, batch, context)
    weights = sum(each.get(name, 0) for name, _ in stages) - keys
    del step  # whose buffers the graph uses
    return StepTimes.of("graph", batch, context, distinct, kernels, whole, weights, bandwidth, keys)


def _prepared(
    model: CausalLM, batch: int, context: int
) -> tuple[DecodeStep, DecodeChain, Callable[[], None]]:
    """A step over random keys and values, its chain, and what replays its graph."""
    config = model.config
    pages_each = context // _PAGE_SIZE + _ROOM
    shape = (2, batch * pages_each, _PAGE_SIZE, config.num_key_value_heads, config.head_dim)
    pages: list[tuple[torch.Tensor, torch.Tensor]] = []
    for _ in range(config.num_hidden_layers):
        keys, values = torch.randn(shape, dtype=torch.bfloat16, device="cuda")
        pages.append((keys, values))
    groups = sorted(set(config.layer_types))
    step = DecodeStep(model, pages, groups, _PAGE_SIZE * pages_each, config.vocab_size, batch)
    tables = [
        [array("i", range(row * pages_each, (row + 1) * pages_each))] * len(groups)
        for row in range(batch)
    ]
    ids = torch.randint(0, config.vocab_size, (batch,)).tolist()
    step.run(ids, [context - 1] * batch, tables)
    graph, chain = step._ready[step.size_for(batch), False]
    return step, chain, graph.replay


def _distinct(chain: DecodeChain, batch: int) -> int:
    """Experts that the sequences choose by the router's logits as they are now."""
    routed = chain._routed
    # Rows of the graph that hold no sequence choose none.
    return len(routed.logits[:batch].topk(routed.top_k, dim=-1).indices.unique())


def _mean_distinct(chain: DecodeChain, stages: Sequence[Stage], batch: int) -> float:
    """Of a layer, on average over a step."""
    counts: list[int] = []
    for name, launch in stages:
        launch()
        if name == "router":
            counts.append(_distinct(chain, batch))
    return sum(counts) / len(counts)


def _in_place(stages: Sequence[Stage], repeats: int) -> dict[str, float]:
    """Seconds that each launch of a layer adds where it stands.

    Every chain begins with the embeddings, or the residual stream would grow from replay to replay, and
    all tokens would choose the same experts in the end.
    """
    names = [name for name in dict.fromkeys(name for name, _ in stages) if name not in _ONCE]
    first = [launch for name, launch in stages if name == _FIRST]
    found: dict[str, float] = {}
    before = graph_ms(partial(_run_all, first), repeats) * 1e-3
    for count, last in enumerate(names, start=1):
        chain = [launch for name, launch in stages if name in names[:count]]
        whole = graph_ms(partial(_run_all, [*first, *chain]), repeats) * 1e-3
        found[last] = (whole - before) / (len(chain) / count)
        before = whole
    return found


def _run_all(calls: Sequence[Callable[[], None]]) -> None:
    for call in calls:
        call()
