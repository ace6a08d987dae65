"""Measure how near a GPU's numbers are to the same model's on a CPU in float32.

    PYTHONPATH=. python -m benchmarks.gpu_precision [MODEL] [--prompts 4] [--length 16] [--answers 64] [--tokens 32]

First the hidden states that enter each layer, the final norm's and the logits of a few prompts of random ids:
of the model on the GPU, bfloat16 with the engine's kernels, and of the same weights on the CPU in float32. Each
is a relative distance, |a - b| / |b| in the Euclidean norm over all tokens; beside it stands the distance of
the same weights on the CPU in bfloat16, which rounds at the same places. Then how often the most likely next
token is the same, and the mean KL divergence from float32 in nats.

Then greedy answers through engines in bfloat16 on both, one prompt at a time: of the demo the questions that it was
trained to answer but has not seen, of other models random ids.

Then what `--kv-dtype fp8` does: the largest key and value along these answers and the share of numbers below 2^-6,
where e4m3 has fewer bits; how many answers stay the same; and the KL divergence and the most likely tokens at
every place of the answers, of an engine with such a cache beside one in bfloat16. `--length` makes random prompts
longer, so that full layers have more to read.

Then what `--fp8-prefill` does to the distributions of the next token at the last 64 places of two prompts of
random ids, as long as it takes for the option to matter, and how far off their logits are.

At last what `--fp8-weights` does: greedy answers, and along those of bfloat16 the distributions of the next token, of
engines on the GPU; how often the most likely token stays, and the KL divergence in nats.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from benchmarks.cpu_precision import divergences, paged_logits, show_table, skill_prompts

from ossia.api.runtime import ONE_AT_A_TIME, core_for
from ossia.bench.playing import Prompt, random_prompt
from ossia.bench.subject import load_subject
from ossia.engine.config import Fp8Weights, KVDtype
from ossia.engine.runner import ModelRunner
from ossia.engine.sync_engine import SyncEngine
from ossia.errors import ConfigError
from ossia.kernels.decode.launching import is_hopper
from ossia.kernels.fp8.scaled import MANY_TOKENS
from ossia.model.batch import ForwardBatch
from ossia.model.decode_step import relay_weights, why_not
from ossia.model.fp8_prefill import add_copies
from ossia.model.fp8_prefill import why_not as why_no_copies
from ossia.model.fp8_weights import why_not as why_not_fp8
from ossia.model.heads import CausalLM
from ossia.model.recording import Recording
from ossia.tokenizer import special
from ossia.types import Request, SamplingParams

_LAST = 64  # places of a long prompt whose logits are compared
_STOPS = tuple(sorted(special.ACTION_STOP_TOKENS))
States = list[torch.Tensor]
# In the order in which a network can take them: it cannot go back.
FP8_WEIGHTS: tuple[Fp8Weights, ...] = ("unembedding", "unembedding,attention")
FP8_HEAD = (
    "--fp8-weights", "the same answer", "prompts", "most likely token kept", "mean KL", "maximum KL",
    "tokens",
)  # fmt: skip


@torch.inference_mode()
def states(network: CausalLM, prompts: Sequence[Prompt]) -> States:
    """What enters each layer, what leaves the final norm, and logits, in float64 on the CPU."""
    device = network.lm_head.weight.device
    recording = Recording(hidden=True)
    batch = ForwardBatch.from_sequences([list(prompt) for prompt in prompts], device)
    logits = network(replace(batch, recording=recording))
    kept = [recording.hidden_states[idx] for idx in sorted(recording.hidden_states)]
    return [one.double().cpu() for one in (*kept, logits)]


def like(network: CausalLM, model: str, dtype: str) -> CausalLM:
    """The same weights on the CPU in another dtype; packed ones as they are."""
    other = load_subject(model, device="cpu", dtype=dtype).network
    for theirs, ours in zip(other.parameters(), network.parameters(), strict=True):
        theirs.data.copy_(ours.data)
    return other


def compare_states(network: CausalLM, model: str, prompts: Sequence[Prompt]) -> None:
    """Print a line for each layer."""
    exact, rounded = (
        states(like(network, model, dtype), prompts) for dtype in ("float32", "bfloat16")
    )
    if network.lm_head.weight.is_cuda and why_not(network, torch.bfloat16) is None:
        relay_weights(network)  # so that experts go through the engine's kernels
    found = states(network, prompts)
    names = [f"into layer {idx}" for idx in range(len(found) - 2)] + ["final norm", "logits"]
    print("| | this device, bfloat16 | CPU, bfloat16 |")
    print("| --- | --: | --: |")
    for name, ours, plain, truth in zip(names, found, rounded, exact, strict=True):
        distances = ((one - truth).norm() / truth.norm() for one in (ours, plain))
        print(f"| {name} | {' | '.join(f'{one:.2e}' for one in distances)} |")
    for name, ours in (("this device", found[-1]), ("CPU", rounded[-1])):
        same = (ours.argmax(-1) == exact[-1].argmax(-1)).double().mean()
        change = divergences(exact[-1], ours).mean()
        print(
            f"{name}: the most likely token is float32's {same:.1%} of {len(ours)}, mean KL {change:.1e}"
        )


def answers(
    network: CausalLM,
    prompts: Sequence[Prompt],
    sampling: SamplingParams,
    fp8_weights: Fp8Weights = "none",
    kv_dtype: KVDtype = "auto",
) -> list[list[int]]:
    """Greedy, one prompt at a time."""
    config = replace(ONE_AT_A_TIME, prefix_reuse=False, fp8_weights=fp8_weights, kv_dtype=kv_dtype)
    engine = SyncEngine(core_for(network, config))
    requests = [
        Request(request_id="one", prompt_ids=prompt, sampling=sampling) for prompt in prompts
    ]
    return [engine.generate([one])[0].continuations[0].token_ids for one in requests]


def compare_kv(
    network: CausalLM,
    prompts: Sequence[Prompt],
    plain: Sequence[list[int]],
    sampling: SamplingParams,
) -> None:
    """Print what keys and values in fp8 change.

    Args:
        network: The model, in bfloat16.
        prompts: What is asked.
        plain: The answers with keys and values in bfloat16.
        sampling: How they were drawn.
    """
    config = replace(ONE_AT_A_TIME, prefix_reuse=False)
    try:
        rounded = core_for(network, replace(config, kv_dtype="fp8"))
    except ConfigError as error:
        print(f"fp8 KV cache: {error}")
        return
    exact = core_for(network, config)
    runner = exact._runner
    assert isinstance(runner, ModelRunner)
    pool = runner._pool
    for pages in (*pool.k_pages, *pool.v_pages):
        pages.zero_()
    known = min(special.LAST_LISTED + 1, network.config.vocab_size)
    changes: list[torch.Tensor] = []
    same_tokens: list[torch.Tensor] = []
    for prompt, answer in zip(prompts, plain, strict=True):
        ours, theirs = (paged_logits(core, prompt, answer)[:, :known] for core in (exact, rounded))
        changes.append(divergences(ours, theirs).cpu())
        same_tokens.append((ours.argmax(-1) == theirs.argmax(-1)).cpu())
    for name, layers in (("key", pool.k_pages), ("value", pool.v_pages)):
        largest = max(float(pages.abs().max()) for pages in layers)
        written = sum(int((pages != 0).sum()) for pages in layers)
        small = sum(int(((pages != 0) & (pages.abs() < 2**-6)).sum()) for pages in layers)
        print(f"largest {name} {largest:.3g}, below 2^-6 {small / max(1, written):.2%} of all")
    pairs = zip(answers(network, prompts, sampling, kv_dtype="fp8"), plain, strict=True)
    same = sum(ours == theirs for ours, theirs in pairs)
    found, kept_tokens = torch.cat(changes), torch.cat(same_tokens)
    print(
        f"fp8 KV cache: the same answer {same} of {len(prompts)}, mean KL {found.mean():.1e}, maximum "
        f"{found.max():.1e}, the most likely token kept {kept_tokens.double().mean():.1%} of {len(found)}"
    )


@torch.inference_mode()
def compare_prefill(network: CausalLM, prompts: Sequence[Prompt]) -> None:
    """Print what long prompts in 8-bit floats change; the network has copies afterwards."""
    if (reason := why_no_copies(network)) is not None:
        print(f"--fp8-prefill: {reason}")
        return
    known = min(special.LAST_LISTED + 1, network.config.vocab_size)

    def logits_of(prompt: Prompt, *, rounded: bool) -> torch.Tensor:
        batch = ForwardBatch.from_sequences([list(prompt)], network.lm_head.weight.device)
        last = torch.arange(len(prompt) - _LAST, len(prompt), device=network.lm_head.weight.device)
        return (
            network(replace(batch, logits_rows=last, fp8_prefill=rounded))[:, :known].double().cpu()
        )

    add_copies(network)
    plain, found = (
        torch.cat([logits_of(prompt, rounded=rounded) for prompt in prompts])
        for rounded in (False, True)
    )
    changes = divergences(plain, found)
    print(
        f"--fp8-prefill: {len(prompts)} prompts of {len(prompts[0])}, logits {(found - plain).norm() / plain.norm():.1e} "
        f"off, mean KL {changes.mean():.1e}, maximum {changes.max():.1e}, the most likely token kept "
        f"{(found.argmax(-1) == plain.argmax(-1)).double().mean():.1%} of {len(found)}"
    )


def compare_fp8(
    network: CausalLM, prompts: Sequence[Prompt], sampling: SamplingParams
) -> list[tuple[str, ...]]:
    """What becomes of answers and logits as more and more matrices are rounded; the network stays so."""
    config = replace(ONE_AT_A_TIME, prefix_reuse=False)
    known = min(special.LAST_LISTED + 1, network.config.vocab_size)
    plain_answers = answers(network, prompts, sampling)

    def logits_of(weights: Fp8Weights) -> list[torch.Tensor]:
        core = core_for(network, replace(config, fp8_weights=weights))
        pairs = zip(prompts, plain_answers, strict=True)
        return [paged_logits(core, *pair)[:, :known].cpu() for pair in pairs]

    plain = logits_of("none")
    rows: list[tuple[str, ...]] = []
    for weights in FP8_WEIGHTS:
        found = logits_of(weights)
        again = answers(network, prompts, sampling, weights)
        same = sum(ours == theirs for ours, theirs in zip(again, plain_answers, strict=True))
        pairs = list(zip(plain, found, strict=True))
        kept = torch.cat([ours.argmax(-1) == theirs.argmax(-1) for ours, theirs in pairs])
        changes = torch.cat([divergences(ours, theirs) for ours, theirs in pairs])
        rows.append((
            weights, f"{same / len(prompts):.1%}", str(len(prompts)), f"{kept.double().mean():.2%}",
            f"{changes.mean():.1e}", f"{changes.max():.1e}", str(len(changes)),
        ))  # fmt: skip
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--prompts", type=int, default=4, help="whose states are compared")
    parser.add_argument("--length", type=int, default=16, help="ids of a random prompt")
    parser.add_argument("--answers", type=int, default=64, help="0 for none")
    parser.add_argument("--tokens", type=int, default=32, help="of an answer at most")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts")
    chosen = parser.parse_args()
    network = load_subject(chosen.model, device=chosen.device).network
    numbers, vocab = (
        random.Random(chosen.seed),
        min(special.LAST_LISTED + 1, network.config.vocab_size),
    )

    def random_prompts(count: int) -> list[Prompt]:
        return [random_prompt(numbers, vocab, chosen.length) for _ in range(count)]

    device = network.lm_head.weight.device
    print(
        f"{chosen.model} on {device}, {'with' if is_hopper(device) else 'without'} the kernels for Hopper"
    )
    compare_states(network, chosen.model, random_prompts(chosen.prompts))
    if chosen.answers == 0:
        return
    is_random = chosen.model.startswith("random:")
    prompts = (
        random_prompts(chosen.answers) if is_random else skill_prompts(chosen.answers, chosen.seed)
    )
    sampling = SamplingParams(
        temperature=0.0, max_tokens=chosen.tokens, stop_token_ids=() if is_random else _STOPS
    )
    on_cpu = answers(load_subject(chosen.model, device="cpu").network, prompts, sampling)
    here = answers(network, prompts, sampling)
    same = sum(ours == theirs for ours, theirs in zip(here, on_cpu, strict=True))
    print(f"greedy answers as on the CPU: {same} of {len(prompts)}")
    compare_kv(network, prompts, here, sampling)
    compare_prefill(network, [random_prompt(numbers, vocab, MANY_TOKENS + 9) for _ in range(2)])
    if (reason := why_not_fp8(network, FP8_WEIGHTS[-1].split(","))) is not None:
        print(f"--fp8-weights: {reason}")
        return
    show_table(FP8_HEAD, compare_fp8(network, prompts, sampling))


if __name__ == "__main__":
    main()
