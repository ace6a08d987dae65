"""Measure what the roundings of `--cpu-weights` and `--cpu-activations` do to a model's answers.

PYTHONPATH=. python benchmarks/cpu_precision.py [MODEL] [--prompts 64] [--length 64] [--tokens 32] [--seed 1]

Everything is compared with bf16 and full, on the same network, which is rounded in place half way.
Answers are greedy, one prompt at a time, as `ossia run` gives them. Distributions are those of the next
token at every place of the answers that bf16 and full gave, ids that the tokenizer does not know left out.
They are of logits in bfloat16, which the engine draws from. For `--kv-dtype int8` both answers and
distributions are those of an engine that keeps keys and values so, beside one that does not; distributions are
then of the ids that the engine makes of the same prompt and answer, chunk by chunk. `random:...` models get random ids, all others
held-out questions that the demo was trained to answer: all kinds of them, with histories and tools.

As many rows of logits as tokens are kept: 0.4 MB each at gpt-oss's vocabulary.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
from demo.conversations import Kind
from demo.scoring import conversations_of

from ossia.api.runtime import ONE_AT_A_TIME, core_for
from ossia.bench.playing import Prompt, random_prompt
from ossia.bench.subject import load_subject
from ossia.engine.batch_builder import BuiltBatch
from ossia.engine.config import CpuActivations, CpuWeights
from ossia.engine.core import EngineCore
from ossia.engine.plan import StepPlan
from ossia.engine.runner import ModelRunner
from ossia.engine.sync_engine import SyncEngine
from ossia.model.batch import ForwardBatch
from ossia.model.heads import CausalLM
from ossia.tokenizer import special
from ossia.types import Request, SamplingParams, TokenLogprob

_STOPS = tuple(sorted(special.ACTION_STOP_TOKENS))
# Those with weights as they are come first: the network cannot go back.
COMBINATIONS: tuple[tuple[CpuWeights, CpuActivations], ...] = (
    ("bf16", "int8"),
    ("int8", "full"),
    ("int8", "int8"),
)
ANSWERS_HEAD = ("--cpu-weights", "--cpu-activations", "the same answer", "prompts")
KV_HEAD = ("--kv-dtype", "the same answer", "prompts", "mean KL", "maximum KL", "tokens")
LOGITS_HEAD = ("--cpu-weights", "--cpu-activations", "mean KL", "maximum KL", "tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """What one precision gives.

    Args:
        answers: Of every prompt, the greedy one.
        logits: Of every prompt (tokens of the plain answer, known ids), of the network's dtype.
    """

    answers: list[list[int]]
    logits: list[torch.Tensor]


def skill_prompts(count: int, seed: int) -> list[Prompt]:
    """Questions that the demo was trained to answer but has not seen; its skills take turns."""
    kinds: tuple[Kind, ...] = get_args(Kind)
    each = -(-count // len(kinds))
    by_kind = [conversations_of(kind, each, seed) for kind in kinds]
    mixed = [one for same in zip(*by_kind, strict=True) for one in same]
    return [tuple(one.prompt_ids()) for one in mixed[:count]]


def divergences(plain: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    """float64 (rows,): KL divergence, in nats, of softmax(rounded) from softmax(plain).

    Args:
        plain: Logits (rows, vocab) of any float dtype.
        rounded: Likewise.
    """
    expected, found = plain.double().log_softmax(-1), rounded.double().log_softmax(-1)
    return (expected.exp() * (expected - found)).sum(-1)


@torch.inference_mode()
def measure(
    network: CausalLM,
    prompts: Sequence[Prompt],
    sampling: SamplingParams,
    precision: tuple[CpuWeights, CpuActivations],
    plain: Precision | None = None,
) -> Precision:
    """Answer all prompts, and get the logits along the answers of `plain`, or else along these."""
    weights, activations = precision
    config = replace(
        ONE_AT_A_TIME, cpu_weights=weights, cpu_activations=activations, prefix_reuse=False
    )
    engine = SyncEngine(core_for(network, config))
    answers = [_answer(engine, prompt, sampling) for prompt in prompts]
    contexts = answers if plain is None else plain.answers
    known = min(special.LAST_LISTED + 1, network.config.vocab_size)
    logits: list[torch.Tensor] = []
    for prompt, answer in zip(prompts, contexts, strict=True):
        batch = replace(
            ForwardBatch.from_sequences([[*prompt, *answer[:-1]]]),
            logits_rows=torch.arange(len(answer)) + len(prompt) - 1,
            int8_activations=activations == "int8",
        )
        logits.append(network(batch)[:, :known])
    return Precision(answers=answers, logits=logits)


@torch.inference_mode()
def paged_logits(core: EngineCore, prompt: Prompt, answer: Sequence[int]) -> torch.Tensor:
    """Logits along an answer, (tokens of it, vocab), over the engine's own keys and values."""
    runner = core._runner
    assert isinstance(runner, ModelRunner)
    score, kept = runner._score_prompts, list[torch.Tensor]()

    def keep(plan: StepPlan, built: BuiltBatch, logits: torch.Tensor) -> list[list[TokenLogprob]]:
        kept.append(logits.clone())
        return score(plan, built, logits)

    sampling = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0)
    request = Request(request_id="all", prompt_ids=(*prompt, *answer[:-1]), sampling=sampling)
    runner._score_prompts = keep
    try:
        SyncEngine(core).generate([request])
    finally:
        del runner._score_prompts
    return torch.cat(kept)[len(prompt) - 1 :]


def compare_kv(network: CausalLM, prompts: Sequence[Prompt], sampling: SamplingParams) -> None:
    """Print a table of keys and values in 8 bits, beside weights as they are."""
    config = replace(ONE_AT_A_TIME, prefix_reuse=False)
    plain, rounded = (
        core_for(network, replace(config, kv_dtype=dtype)) for dtype in ("bfloat16", "int8")
    )
    known = min(special.LAST_LISTED + 1, network.config.vocab_size)
    same, changes = 0, list[torch.Tensor]()
    for prompt in prompts:
        answer = _answer(SyncEngine(plain), prompt, sampling)
        same += answer == _answer(SyncEngine(rounded), prompt, sampling)
        ours, theirs = (paged_logits(core, prompt, answer)[:, :known] for core in (plain, rounded))
        changes.append(divergences(ours, theirs))
    found = torch.cat(changes)
    numbers = (f"{same / len(prompts):.1%}", str(len(prompts)))
    show_table(
        KV_HEAD, [("int8", *numbers, f"{found.mean():.1e}", f"{found.max():.1e}", str(len(found)))]
    )


def _answer(engine: SyncEngine, prompt: Prompt, sampling: SamplingParams) -> list[int]:
    request = Request(request_id="one", prompt_ids=prompt, sampling=sampling)
    (result,) = engine.generate([request])
    return result.continuations[0].token_ids


def compare(network: CausalLM, prompts: Sequence[Prompt], sampling: SamplingParams) -> None:
    """Print a table of answers and one of distributions."""
    plain = measure(network, prompts, sampling, ("bf16", "full"))
    answer_rows: list[tuple[str, ...]] = []
    logits_rows: list[tuple[str, ...]] = []
    for precision in COMBINATIONS:
        found = measure(network, prompts, sampling, precision, plain)
        pairs = zip(found.answers, plain.answers, strict=True)
        share = sum(ours == theirs for ours, theirs in pairs) / len(prompts)
        changes = torch.cat(
            [divergences(*two) for two in zip(plain.logits, found.logits, strict=True)]
        )
        answer_rows.append((*precision, f"{share:.1%}", str(len(prompts))))
        logits_rows.append(
            (*precision, f"{changes.mean():.1e}", f"{changes.max():.1e}", str(len(changes)))
        )
    show_table(ANSWERS_HEAD, answer_rows)
    print()
    show_table(LOGITS_HEAD, logits_rows)


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print it in Markdown."""
    names = [f"`{name}`" if name.startswith("--") else name for name in head]
    for row in (names, ["---"] * len(head), *rows):
        print(f"| {' | '.join(row)} |")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="demo")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--length", type=int, default=64, help="ids of a random prompt")
    parser.add_argument("--tokens", type=int, default=32, help="of an answer at most")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts")
    chosen = parser.parse_args()
    network = load_subject(chosen.model, device="cpu").network
    if chosen.model.startswith("random:"):
        numbers, vocab = random.Random(chosen.seed), special.LAST_LISTED + 1
        prompts = [random_prompt(numbers, vocab, chosen.length) for _ in range(chosen.prompts)]
        stops: tuple[int, ...] = ()
    else:
        prompts, stops = skill_prompts(chosen.prompts, chosen.seed), _STOPS
    sampling = SamplingParams(temperature=0.0, max_tokens=chosen.tokens, stop_token_ids=stops)
    compare_kv(network, prompts, sampling)
    print()
    compare(network, prompts, sampling)


if __name__ == "__main__":
    main()
