"""Time what many tokens take on a GPU: expert layers, attention, whole prompts.

python benchmarks/prefill.py [--model random:20b] [--tokens 128,512,2048,8000] [--parts experts,attention,prompts]

Expert layers are timed over all layers' weights in turn, so that they come from memory; `floor` is
the time that reading them once takes at the read bandwidth measured in the same run.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import torch

from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.bench.ceilings import matrix_rate, read_bandwidth
from ossia.bench.timing import graph_ms
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.kernels.attention import blocks_for
from ossia.kernels.attention.triton_paged import attend_paged
from ossia.kernels.fp8 import has_fp8, to_fp8
from ossia.kernels.moe import cuda_many
from ossia.kernels.routing import route
from ossia.model.decode_step import relay_weights
from ossia.model.heads import CausalLM
from ossia.types import Request, SamplingParams


def experts(model: CausalLM, sizes: list[int], bandwidth: float) -> None:
    """Print the time of a layer's experts, both ways."""
    config = model.config
    layers = [layer.mlp.experts.weights() for layer in model.model.layers]
    layer_bytes = 3 * config.intermediate_size * config.hidden_size * 17 / 32 * config.num_experts
    for tokens in sizes:
        x = torch.randn(tokens, config.hidden_size, dtype=torch.bfloat16, device="cuda")
        logits = torch.randn(tokens, config.num_experts, dtype=torch.bfloat16, device="cuda")
        weights, ids = route(logits, config.experts_per_token)
        flops = (
            6 * tokens * config.experts_per_token * config.hidden_size * config.intermediate_size
        )
        line = f"experts, {tokens:5} tokens:"
        for way in (cuda_many.run_packed, cuda_many.run_wide, cuda_many.run_expanded):
            if way is cuda_many.run_packed and tokens > 2048:
                continue
            every = [partial(way, x, ids, weights, layer) for layer in layers]
            each = graph_ms(lambda every=every: [run() for run in every]) / len(layers)
            line += f" {way.__name__} {each * 1e3:8.1f} us ({flops / each * 1e-9:5.0f} TFLOP/s)"
        print(line + f", floor {layer_bytes / bandwidth * 1e6:.0f} us", flush=True)


def attention(model: CausalLM, sizes: list[int]) -> None:
    """Print the time of prefill attention, full and sliding, and over pages in fp8."""
    config = model.config
    heads, kv_heads, dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    for tokens in sizes:
        pages = -(-tokens // 16)
        kv = torch.randn(2, pages, 16, kv_heads, dim, dtype=torch.bfloat16, device="cuda")
        table = torch.randperm(pages, dtype=torch.int32).cuda()[None]
        q = torch.randn(tokens, heads, dim, dtype=torch.bfloat16, device="cuda")
        sinks = torch.randn(heads, dtype=torch.bfloat16, device="cuda")
        blocks = blocks_for([tokens], [tokens], heads, kv_heads, q.device).cuda()
        given = (table, blocks, sinks)
        full, sliding = (graph_ms(partial(attend_paged, q, *kv, *given, window)) for window in (None, 128))  # fmt: skip
        rate = 2 * heads * dim * tokens**2 / full * 1e-9
        line = f"attention, {tokens:5} tokens: full {full * 1e3:.0f} us ({rate:.0f} TFLOP/s), sliding {sliding * 1e3:.0f} us"  # fmt: skip
        if has_fp8(q.device):
            narrow = graph_ms(partial(attend_paged, q, *to_fp8(kv), *given, None))
            line += f", full over fp8 pages {narrow * 1e3:.0f} us"
        print(line, flush=True)


def prompts(model: CausalLM, sizes: list[int], chunk: int) -> None:
    """Print the time from submitting one prompt to its first token."""
    config = EngineConfig(
        num_pages=4096, prefix_reuse=False, prefill_chunk=chunk, max_batch_tokens=chunk
    )
    core = EngineCore(model, config)
    for tokens in sizes:
        times = []
        for turn in range(6):
            ids = torch.randint(0, model.config.vocab_size, (tokens,)).tolist()
            sampling = SamplingParams(temperature=0.0, max_tokens=1)
            started = time.perf_counter()
            core.submit(
                Request(request_id=f"{tokens}-{turn}", prompt_ids=tuple(ids), sampling=sampling)
            )
            while core.has_work:
                outputs = core.step()
                assert all(output.error is None for output in outputs), outputs
            times.append(time.perf_counter() - started)
        middle = sorted(times[1:])[2]
        print(f"prompt of {tokens:5}: first token after {middle * 1e3:7.2f} ms = {tokens / middle:8.0f} tok/s (first try {times[0] * 1e3:.0f} ms)", flush=True)  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="random:20b")
    parser.add_argument("--tokens", default="128,512,2048,8000")
    parser.add_argument("--parts", default="experts,attention,prompts")
    parser.add_argument("--chunk", type=int, default=8192)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device("cuda")
    bandwidth, rate = read_bandwidth(device), matrix_rate(device)
    print(f"{torch.cuda.get_device_name()}: {bandwidth / 1e12:.2f} TB/s, {rate / 1e12:.0f} TFLOP/s")
    model = load_module(CausalLM, find_model(chosen.model), device="cuda")
    sizes = [int(size) for size in chosen.tokens.split(",")]
    with torch.inference_mode():
        relay_weights(model)
        if "experts" in chosen.parts:
            experts(model, sorted({16, 32, 64, 256, *sizes}), bandwidth)
        if "attention" in chosen.parts:
            attention(model, sizes)
    if "prompts" in chosen.parts:
        prompts(model, sizes, chosen.chunk)
    print(f"peak memory {torch.cuda.max_memory_allocated() / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
