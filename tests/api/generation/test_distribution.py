"""Sampled tokens against the distribution that numpy computes from the model's scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from support.generation import prompts, shared_pair

NUM = 1200


def distribution(logits: np.ndarray, options: dict) -> np.ndarray:
    """Probabilities (vocab,) after temperature, top-k, top-p and min-p, in this order."""
    scaled = logits.astype(np.float64) / options.get("temperature", 1.0)
    probs = np.exp(scaled - scaled.max())
    probs /= probs.sum()
    order = np.argsort(-probs)
    if options.get("top_k"):
        probs[order[options["top_k"] :]] = 0
        probs /= probs.sum()
    if "top_p" in options:
        before = np.cumsum(probs[order]) - probs[order]
        probs[order[before >= options["top_p"]]] = 0
        probs /= probs.sum()
    if "min_p" in options:
        probs[probs < options["min_p"] * probs.max()] = 0
        probs /= probs.sum()
    return probs


@pytest.mark.parametrize("cache", ["paged", "dynamic"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.6},
        {"top_k": 5},
        {"top_p": 0.7, "temperature": 1.5},
        {"min_p": 0.2},
        {"top_k": 20, "top_p": 0.8, "min_p": 0.1, "temperature": 2.0},
    ],
)
def test_tokens_come_as_often_as_they_should(cache, options):
    model, _ = shared_pair()
    ids = prompts(1, 5, seed=4)
    with torch.no_grad():
        logits = model(ids).logits[0, -1].numpy()
    exact = distribution(logits, options)
    torch.manual_seed(0)
    drawn = model.generate(
        ids,
        do_sample=True,
        max_new_tokens=1,
        num_return_sequences=NUM,
        cache_implementation=cache,
        **options,
    )[:, 5].numpy()
    counts = np.bincount(drawn, minlength=97)
    assert counts[exact == 0].sum() == 0
    # Pearson's statistic over the likely tokens, the rest taken together.
    likely = exact * NUM >= 5
    expected = np.append(exact[likely], exact[~likely].sum()) * NUM
    found = np.append(counts[likely], counts[~likely].sum())
    keep = expected > 0
    statistic = ((found - expected)[keep] ** 2 / expected[keep]).sum()
    freedom = keep.sum() - 1
    assert statistic < freedom + 5 * np.sqrt(2 * max(freedom, 1)) + 5
