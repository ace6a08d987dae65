"""Train the demo model: `python -m demo.train --out FOLDER`.

Twenty minutes on one H100-class GPU; `--tiny` proves the machinery on a CPU in a minute or two.
"""

from __future__ import annotations

import argparse
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from demo.decoding import all_rows, greedy
from demo.export import export, restore
from demo.muon import Muon
from demo.network import CONFIG, Network, Rows, hidden_states, rope_of, visibility, vocabulary_rows
from demo.own_tokens import NUM_OWN
from demo.scoring import measure
from demo.stream import Batch, BatchShape, stream
from ossia.config import ModelConfig
from ossia.demo.packing import unpack_model

_MATRICES = ("q", "k", "v", "o", "gate_up", "down")
_ROW_LRS = {
    "embed_features": 0.001,
    "embed_own": 0.002,
    "head_features": 0.0004,
    "head_own": 0.0015,
}
_BALANCE_WEIGHT = 0.01

Losses = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Core = Callable[..., Losses]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to train.

    Args:
        steps: Steps at most.
        seconds: Wall-clock budget; the schedule follows whichever of the two is nearer its end.
        shape: Size of a batch.
        workers: Processes that generate data.
        seed: Of data and initial weights.
        matrix_lr: Peak learning rate of Muon for the layers' matrices.
        row_lrs: Peak learning rates of AdamW for the vocabulary's parts. Feature vectors move
            slowly: a row is the sum of some twenty.
        vector_lr: Peak learning rate of AdamW for norms, biases, sinks and routers.
        warmup: Share of the schedule in which rates rise.
        decay_from: Share from which they fall, linearly to zero.
        peak: Factor on all rates.
        round_from: Share from which weights are rounded as they will be shipped.
    """

    steps: int
    seconds: float
    shape: BatchShape
    workers: int
    seed: int = 0
    matrix_lr: float = 0.012
    row_lrs: Mapping[str, float] = field(default_factory=lambda: dict(_ROW_LRS))
    vector_lr: float = 0.0015
    warmup: float = 0.02
    decay_from: float = 0.1
    round_from: float = 0.25
    peak: float = 1.0
    device: str = "cuda"
    compiled: bool = True
    evaluate_every: float = 240.0
    evaluate_count: int = 200


def rate_at(settings: Settings, progress: float) -> float:
    """The factor on both learning rates at a share of the schedule."""
    rising = progress / settings.warmup if settings.warmup else 1.0
    falling = (1.0 - progress) / (1.0 - settings.decay_from)
    return max(0.0, min(1.0, rising, falling))


def loss_of(
    network: Network,
    table: Rows,
    batch: dict[str, torch.Tensor],
    rounded: bool,
    core: Core,
    dtype: torch.dtype,
) -> Losses:
    """What to minimise for a batch; `core` is `packed_loss`, compiled or not."""
    weights = network.weights(rounded)
    rows = Rows(table.features[batch["rows"]], table.own[batch["rows"]])
    embed, head = (vocabulary_rows(weights, which, rows) for which in ("embed", "head"))
    layers = {
        name: value for name, value in weights.items() if not name.startswith(("embed_", "head_"))
    }
    inputs = {name: value for name, value in batch.items() if name != "rows"}
    return core(network.config, layers, embed.float(), head.to(dtype), inputs, dtype)


def packed_loss(
    config: ModelConfig,
    layers: dict[str, torch.Tensor],
    embed: torch.Tensor,
    head: torch.Tensor,
    inputs: dict[str, torch.Tensor],
    dtype: torch.dtype,
) -> Losses:
    """Loss to minimise, cross-entropy a target, and share of targets that are the most likely.

    Args:
        config: Shape of the model.
        layers: All weights but the vocabulary's.
        embed: (rows, hidden) embeddings of the batch's rows.
        head: (rows, hidden) unembeddings of the same.
        inputs: A `Batch` as tensors.
        dtype: What to compute in.
    """
    x = F.embedding(inputs["places"], embed)
    masks = [visibility(inputs["segments"], window) for window in (config.sliding_window, None)]
    rope = rope_of(config, inputs["positions"])
    states, balance = hidden_states(config, layers, x, rope, masks, dtype)
    logits = (states.flatten(0, 1)[inputs["sources"]] @ head.T).float()
    entropy = F.cross_entropy(logits, inputs["labels"], ignore_index=-100)
    labelled = inputs["labels"] >= 0
    hits = ((logits.argmax(-1) == inputs["labels"]) & labelled).sum() / labelled.sum()
    return entropy + _BALANCE_WEIGHT * balance, entropy.detach(), hits


def train(settings: Settings, out: Path, resume: Path | None = None) -> Network:
    """Train; writes the packed model, a log and evaluations to `out` as it goes.

    Args:
        settings: How.
        out: Where results go.
        resume: A packed model to start from instead of random weights.
    """
    out.mkdir(parents=True, exist_ok=True)
    batches = stream(settings.seed, settings.shape, settings.workers)
    first = next(batches)  # the workers are forked before anything touches the GPU
    torch.manual_seed(settings.seed)
    torch.set_float32_matmul_precision("high")
    device = torch.device(settings.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    network = Network(CONFIG, NUM_OWN).to(device)
    if resume is not None:
        restore(network, unpack_model(resume.read_bytes(), file=resume))
    table = all_rows(device, dtype)
    optimizers = _optimizers(network, settings)
    core: Core = torch.compile(packed_loss) if settings.compiled else packed_loss
    loaded = _ahead(batches, first, device)
    log = (out / "log.txt").open("a")
    start = time.monotonic()
    next_evaluation = settings.evaluate_every
    pause = 0.0  # time spent on evaluation does not count as training
    step = 0
    for step in range(settings.steps):
        spent = time.monotonic() - start - pause
        progress = max(step / settings.steps, spent / settings.seconds)
        if progress >= 1.0:
            break
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * settings.peak * rate_at(settings, progress)
        loss, entropy, hits = loss_of(
            network, table, next(loaded), progress >= settings.round_from, core, dtype
        )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0:
            line = f"step {step} progress {progress:.3f} seconds {spent:.1f} loss {entropy.item():.5f} hits {hits.item():.5f}"
            print(line, flush=True)
            print(line, file=log, flush=True)
        if spent > next_evaluation:
            next_evaluation += settings.evaluate_every
            before = time.monotonic()
            _save(network, table, settings.evaluate_count // 3, out, step, dtype)
            pause += time.monotonic() - before
    _save(network, table, settings.evaluate_count, out, step, dtype)
    return network


def _save(
    network: Network, table: Rows, count: int, out: Path, step: int, dtype: torch.dtype
) -> None:
    """Write the packed model first, then what it can do."""
    export(network, out / "demo.bin")
    found, wrong = measure(partial(greedy, network, table, max_new=260, dtype=dtype), count)
    text = json.dumps({"step": step, **found}, indent=1)
    print(text, flush=True)
    (out / "evaluation.json").write_text(text + "\n")
    (out / "wrong.txt").write_text("\n".join(wrong) + "\n")


def _optimizers(network: Network, settings: Settings) -> tuple[torch.optim.Optimizer, ...]:
    named = dict(network.named_parameters())
    matrices = Muon([named.pop(name) for name in _MATRICES], lr=settings.matrix_lr)
    groups = [{"params": [named.pop(name)], "lr": rate} for name, rate in settings.row_lrs.items()]
    groups.append({"params": list(named.values()), "lr": settings.vector_lr})
    fused = settings.device == "cuda"
    vectors = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-10, weight_decay=0.0, fused=fused)
    for optimizer in (matrices, vectors):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return matrices, vectors


def _ahead(
    batches: Iterator[Batch], first: Batch, device: torch.device
) -> Iterator[dict[str, torch.Tensor]]:
    """Batches as tensors on the device, a few ahead of their use."""
    ready: queue.Queue[dict[str, torch.Tensor]] = queue.Queue(maxsize=4)

    def fill() -> None:
        batch = first
        while True:
            ready.put(_on_device(batch, device))
            batch = next(batches)

    threading.Thread(target=fill, daemon=True).start()
    while True:
        yield ready.get()


def _on_device(batch: Batch, device: torch.device) -> dict[str, torch.Tensor]:
    names = ("places", "segments", "positions", "sources", "labels", "rows")
    return {name: torch.from_numpy(getattr(batch, name)).to(device).long() for name in names}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--workers", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--evaluate-every", type=float, default=240.0, help="seconds of training")
    parser.add_argument(
        "--evaluate-count", type=int, default=200, help="prompts of a suite at last"
    )
    parser.add_argument("--resume", type=Path, help="a packed model to train on from")
    parser.add_argument("--peak", type=float, default=1.0, help="factor on all learning rates")
    parser.add_argument("--round-from", type=float, default=0.25)
    parser.add_argument(
        "--tiny", action="store_true", help="small batches on the CPU, to try things"
    )
    chosen = parser.parse_args()
    common = {
        "steps": chosen.steps,
        "seconds": chosen.seconds,
        "seed": chosen.seed,
        "evaluate_every": chosen.evaluate_every,
        "evaluate_count": 6 if chosen.tiny else chosen.evaluate_count,
        "peak": chosen.peak,
        "round_from": chosen.round_from,
    }
    if chosen.tiny:
        shape = BatchShape(batch=4, seq=640, targets=1024, rows=4096)
        settings = Settings(shape=shape, workers=1, device="cpu", compiled=False, **common)
    else:
        settings = Settings(shape=BatchShape(), workers=chosen.workers, **common)
    train(settings, chosen.out, chosen.resume)


if __name__ == "__main__":
    main()
