"""Time a decode step: kernel by kernel, as one CUDA graph, and through the engine.

python benchmarks/decode_step.py [--model random:20b] [--sizes 1,2,4,8,16] [--tokens 256]

Kernels are timed as a graph of one kind of launch for all layers, so that weights come from memory.
Bytes are the weights that a kernel has to read, chosen experts counted; `share` compares with the
read bandwidth measured in the same run.
"""

from __future__ import annotations

import argparse
import time
from array import array
from collections.abc import Callable

import torch

from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.config import ModelConfig
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.model.decode_chain import DecodeChain
from ossia.model.decode_step import DecodeStep, why_not
from ossia.model.heads import CausalLM
from ossia.types import Request, SamplingParams

PROMPT = 128


def read_bandwidth() -> float:
    """Bytes a second of a plain reduction over 2 GiB."""
    values = torch.ones(1 << 29, dtype=torch.float32, device="cuda")
    return values.nbytes / (graph_ms(lambda: values.sum()) * 1e-3)


def graph_ms(run: Callable[[], object], repeats: int = 20) -> float:
    """Median milliseconds of a graph's replay."""
    run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return replay_ms(graph.replay, repeats)


def replay_ms(replay: Callable[[], object], repeats: int = 20) -> float:
    """Median milliseconds of something enqueued."""
    times = []
    for _ in range(repeats + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times[3:])[repeats // 2]


def weight_bytes(config: ModelConfig, distinct: float) -> dict[str, float]:
    """Bytes of weights that each kind of launch reads in one layer, or in the step."""
    hidden, ffn = config.hidden_size, config.intermediate_size
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    return {
        "qkv": 2 * hidden * (heads + 2 * kv_heads) * config.head_dim,
        "o": 2 * hidden * heads * config.head_dim,
        "router": 2 * hidden * config.num_experts,
        "gate_up": distinct * 2 * ffn * hidden * 17 / 32,
        "down": distinct * ffn * hidden * 17 / 32,
        "unembedding": 2 * hidden * config.vocab_size,
    }


def prepared(model: CausalLM, size: int) -> tuple[DecodeStep, DecodeChain, Callable[[], None]]:
    """A step for so many sequences of PROMPT tokens, and what replays its graph."""
    config = model.config
    pages_each = PROMPT // 16 + 64
    shape = (2, size * pages_each, 16, config.num_key_value_heads, config.head_dim)
    pages = [
        tuple(torch.randn(shape, dtype=torch.bfloat16, device="cuda"))
        for _ in range(config.num_hidden_layers)
    ]
    groups = sorted(set(config.layer_types))
    step = DecodeStep(model, pages, groups, 16 * pages_each, config.vocab_size)
    tables = [
        [array("i", range(row * pages_each, (row + 1) * pages_each))] * len(groups)
        for row in range(size)
    ]
    ids = torch.randint(0, config.vocab_size, (size,)).tolist()
    step.run(ids, [PROMPT] * size, tables)
    graph, chain = step._ready[size]
    return step, chain, graph.replay


def distinct_experts(chain: DecodeChain) -> int:
    """That the tokens choose by the router logits as they are now."""
    logits = chain._routed.logits
    return len(logits.topk(chain._routed.top_k, dim=-1).indices.unique())


def mean_distinct(chain: DecodeChain, stages: list[tuple[str, Callable[[], None]]]) -> float:
    """Distinct experts of a layer, on average over a step."""
    counts = []
    for name, launch in stages:
        launch()
        if name == "router":
            counts.append(distinct_experts(chain))
    return sum(counts) / len(counts)


def kernels(model: CausalLM, size: int, bandwidth: float) -> None:
    """Print a line for each kind of launch, and one for the step."""
    step, chain, replay = prepared(model, size)
    layers = model.config.num_hidden_layers
    stages = chain.stages()
    mean = mean_distinct(chain, stages)
    print(f"\n{size} sequences, {mean:.1f} experts chosen in a layer")
    total = 0.0
    for name in dict.fromkeys(name for name, _ in stages):
        launches = [launch for other, launch in stages if other == name]
        seconds = graph_ms(lambda launches=launches: [launch() for launch in launches]) * 1e-3
        each, share = seconds / len(launches), ""
        now = distinct_experts(chain)  # all launches of the experts use the logits at hand
        nbytes = weight_bytes(model.config, now)
        if name in nbytes:
            rate = nbytes[name] / each
            share = f"{nbytes[name] / 1e6:8.2f} MB {rate / 1e9:6.0f} GB/s {rate / bandwidth:6.1%}"
        if name in ("gate_up", "down"):
            share += f" ({now} experts)"
        print(f"  {name:12} {each * 1e6:8.2f} us {share}")
        total += seconds
    print("  layers cut short after each launch: " + ", ".join(prefixes(stages)))
    seconds = replay_ms(replay) * 1e-3
    nbytes = weight_bytes(model.config, mean)
    whole = sum(nbytes[name] * layers for name in nbytes if name != "unembedding")
    whole += nbytes["unembedding"]
    print(f"  sum of these {total * 1e6:8.1f} us")
    print(
        f"  whole step   {seconds * 1e6:8.1f} us = {size / seconds:.0f} tok/s, "
        f"{whole / 1e9:.2f} GB, {whole / seconds / bandwidth:.1%} of the read bandwidth",
        flush=True,
    )
    del step


def prefixes(stages: list[tuple[str, Callable[[], None]]]) -> list[str]:
    """What each launch adds where it stands: microseconds a layer of chains that end after it."""
    names = list(dict.fromkeys(name for name, _ in stages))[1:-2]
    found, before = [], 0.0
    for count in range(1, len(names) + 1):
        chain = [launch for name, launch in stages if name in names[:count]]
        layers = len(chain) // count
        each = graph_ms(lambda chain=chain: [launch() for launch in chain]) / layers * 1e3
        found.append(f"{names[count - 1]} +{each - before:.1f}")
        before = each
    return found


def engine(model: CausalLM, size: int, tokens: int) -> None:
    """Print what the engine makes of it, prompts left out."""
    config = EngineConfig(
        num_pages=16384, prefix_reuse=False, max_sequences=128, max_batch_tokens=8192
    )
    core = EngineCore(model, config)
    for idx in range(size):
        prompt = torch.randint(0, model.config.vocab_size, (PROMPT,)).tolist()
        sampling = SamplingParams(temperature=0.0, max_tokens=tokens)
        core.submit(Request(request_id=str(idx), prompt_ids=tuple(prompt), sampling=sampling))
    started = time.perf_counter()
    outputs = core.step()
    first = time.perf_counter() - started
    for _ in range(8):
        core.step()
    torch.cuda.synchronize()
    started, count = time.perf_counter(), 0
    while core.has_work:
        outputs = core.step()
        assert all(output.error is None for output in outputs), outputs
        count += len(outputs)
    seconds = time.perf_counter() - started
    print(f"engine, {size:2} sequences: {count / seconds:7.1f} tok/s (first step {first * 1e3:.0f} ms)", flush=True)  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="random:20b")
    parser.add_argument("--sizes", default="1,2,4,8,16")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--engine", default="1,8")
    chosen = parser.parse_args()
    torch.manual_seed(0)
    bandwidth = read_bandwidth()
    print(f"{torch.cuda.get_device_name()}: read bandwidth {bandwidth / 1e12:.2f} TB/s")
    started = time.perf_counter()
    model = load_module(CausalLM, find_model(chosen.model), device="cuda")
    torch.cuda.synchronize()
    print(
        f"loaded in {time.perf_counter() - started:.1f} s; why not: {why_not(model, torch.bfloat16)}"
    )
    with torch.inference_mode():
        for size in map(int, filter(None, chosen.sizes.split(","))):
            kernels(model, size, bandwidth)
    for size in map(int, filter(None, chosen.engine.split(","))):
        engine(model, size, chosen.tokens)
    print(f"peak memory {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
