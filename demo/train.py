"""Train the demo model: `python -m demo.train --out FOLDER`.

Twenty minutes on one H100-class GPU; `--tiny` proves the machinery on a CPU in a minute or two.
"""

from __future__ import annotations

import argparse
import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from demo.decoding import all_rows, greedy
from demo.export import export
from demo.muon import Muon
from demo.network import CONFIG, Network, Rows, hidden_states, rope_of, visibility, vocabulary_rows
from demo.own_tokens import NUM_OWN
from demo.scoring import measure
from demo.stream import Batch, BatchShape, stream

_MATRICES = ("q", "k", "v", "o", "gate_up", "down")
_BALANCE_WEIGHT = 0.01


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
        vector_lr: Peak learning rate of AdamW for everything else.
        warmup: Share of the schedule in which rates rise.
        decay_from: Share from which they fall, linearly to zero.
        round_from: Share from which weights are rounded as they will be shipped.
    """

    steps: int
    seconds: float
    shape: BatchShape
    workers: int
    seed: int = 0
    matrix_lr: float = 0.02
    vector_lr: float = 0.004
    warmup: float = 0.01
    decay_from: float = 0.45
    round_from: float = 0.25
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
    network: Network, table: Rows, batch: dict[str, torch.Tensor], rounded: bool, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Loss to minimise, cross-entropy a target, and share of targets that are the most likely."""
    weights = network.weights(rounded)
    rows = Rows(table.features[batch["rows"]], table.own[batch["rows"]])
    embed, head = (vocabulary_rows(weights, which, rows) for which in ("embed", "head"))
    x = F.embedding(batch["places"], embed.float())
    masks = [visibility(batch["segments"], window) for window in (network.config.sliding_window, None)]
    rope = rope_of(network.config, batch["positions"])
    states, balance = hidden_states(network.config, weights, x, rope, masks, dtype)
    logits = (states.flatten(0, 1)[batch["sources"]] @ head.to(dtype).T).float()
    entropy = F.cross_entropy(logits, batch["labels"], ignore_index=-100)
    labelled = batch["labels"] >= 0
    hits = ((logits.argmax(-1) == batch["labels"]) & labelled).sum() / labelled.sum()
    return entropy + _BALANCE_WEIGHT * balance, entropy.detach(), hits


def train(settings: Settings, out: Path) -> Network:
    """Train from scratch; writes the packed model, a log and evaluations to `out` as it goes."""
    out.mkdir(parents=True, exist_ok=True)
    batches = stream(settings.seed, settings.shape, settings.workers)
    first = next(batches)  # the workers are forked before anything touches the GPU
    torch.manual_seed(settings.seed)
    device = torch.device(settings.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    network = Network(CONFIG, NUM_OWN).to(device)
    table = all_rows(device, dtype)
    optimizers = _optimizers(network, settings)
    step_loss = torch.compile(loss_of) if settings.compiled else loss_of
    loaded = _ahead(batches, first, device)
    log = (out / "log.txt").open("a")
    start = time.monotonic()
    next_evaluation = settings.evaluate_every
    pause = 0.0  # time spent on evaluation does not count as training
    for step in range(settings.steps):
        spent = time.monotonic() - start - pause
        progress = max(step / settings.steps, spent / settings.seconds)
        if progress >= 1.0:
            break
        for optimizer, peak in zip(optimizers, (settings.matrix_lr, settings.vector_lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate_at(settings, progress)
        loss, entropy, hits = step_loss(network, table, next(loaded), progress >= settings.round_from, dtype)
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
            _save(network, table, settings, out, step, dtype)
            pause += time.monotonic() - before
    _save(network, table, settings, out, settings.steps, dtype)
    return network


def _save(network: Network, table: Rows, settings: Settings, out: Path, step: int, dtype: torch.dtype) -> None:
    """Write the packed model first, then what it can do."""
    export(network, out / "demo.bin")
    generate = lambda prompts: greedy(network, table, prompts, max_new=260, dtype=dtype)  # noqa: E731
    found, wrong = measure(generate, settings.evaluate_count)
    text = json.dumps({"step": step, **found}, indent=1)
    print(text, flush=True)
    (out / "evaluation.json").write_text(text + "\n")
    (out / "wrong.txt").write_text("\n".join(wrong) + "\n")


def _optimizers(network: Network, settings: Settings) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    named = dict(network.named_parameters())
    matrices = [named.pop(name) for name in _MATRICES]
    fused = settings.device == "cuda"
    vectors = torch.optim.AdamW(named.values(), lr=settings.vector_lr, betas=(0.9, 0.98), eps=1e-10, weight_decay=0.0, fused=fused)
    return Muon(matrices, lr=settings.matrix_lr), vectors


def _ahead(batches: Iterator[Batch], first: Batch, device: torch.device) -> Iterator[dict[str, torch.Tensor]]:
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
    parser.add_argument("--evaluate-every", type=float, default=240.0)
    parser.add_argument("--tiny", action="store_true", help="small batches on the CPU, to try things")
    chosen = parser.parse_args()
    common = {"steps": chosen.steps, "seconds": chosen.seconds, "seed": chosen.seed, "evaluate_every": chosen.evaluate_every}
    if chosen.tiny:
        shape = BatchShape(batch=4, seq=640, targets=1024, rows=4096)
        settings = Settings(shape=shape, workers=1, device="cpu", compiled=False, evaluate_count=6, **common)
    else:
        settings = Settings(shape=BatchShape(), workers=chosen.workers, **common)
    train(settings, chosen.out)


if __name__ == "__main__":
    main()
