"""The engine's tokens are the same whether a step on a GPU draws them or the sampler does, from its logits."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ossia.config import PRESETS
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.sampler import Sampler
from ossia.model import token_sets
from ossia.model.heads import CausalLM
from ossia.types import Request, SamplingParams
from support.engines import run_to_end, tokens_of
from support.models import packed_model

_SAMPLINGS: list[dict[str, Any]] = [
    {"top_p": 0.9, "logprobs": 1},
    {"top_k": 7, "min_p": 0.05},
    {"top_p": 0.95, "temperature": 0.6},
    {},
    {"temperature": 0.0, "logprobs": 3},
]


class _Places:
    """Allows one set of ids for some tokens, then another: which ones, only the tokens decide."""

    def __init__(self, seed: int, vocab: int) -> None:
        numbers = random.Random(seed)
        self._sets = [
            (numbers.getrandbits(vocab) | 1).to_bytes(-(-vocab // 8), "little") for _ in range(3)
        ]
        self._at = 0

    def allowed(self) -> bytes:
        return self._sets[self._at]

    def accept(self, token_id: int) -> None:
        if token_id % 5 == 0:
            self._at = (self._at + 1) % 3


def _outputs(
    samplings: list[dict[str, Any]], model: CausalLM
) -> tuple[list[list[int]], list[float]]:
    """Ids, those of the most likely tokens too, and log-probabilities.

    All are of one length, so that steps have the same rows, and their logits the same bits, whoever draws.
    """
    vocab = model.config.vocab_size
    core = EngineCore(model, EngineConfig(num_pages=600))
    for number, given in enumerate(samplings):
        sampling = {"temperature": 1.0} | given
        core.submit(
            Request(
                request_id=str(number),
                prompt_ids=tuple(range(3, 9 + number)),
                sampling=SamplingParams(max_tokens=30, seed=number, **sampling),
                # What is drawn from all ids is drawn anew with another number where a mask refuses it; so those have none.
                make_mask=(lambda _, seed=number: _Places(seed, vocab)) if number % 5 < 3 else None,
            )
        )
    outputs = run_to_end(core)
    scores = [one.logprob for one in outputs if one.logprob is not None]
    told = [pair for one in scores for pair in ((one.token_id, one.logprob), *one.top)]
    ids = [tokens_of(outputs, str(number)) for number in range(len(samplings))]
    return [*ids, [id_ for id_, _ in told]], [logprob for _, logprob in told]


def _with_clear_choices() -> CausalLM:
    """Some hundred ids share a row's weights, so that none is within what rounding makes of sums, as of 200,000 alike."""
    model = packed_model(PRESETS["tiny"](), "cuda")
    model.lm_head.weight.mul_(10)
    return model


_ASKED = {
    "one": _SAMPLINGS[:1],
    "five": _SAMPLINGS,
    "many": [_SAMPLINGS[number % 5] for number in range(24)],
    "greedy": _SAMPLINGS[-1:] * 3,
}


@pytest.mark.gpu
@pytest.mark.parametrize("asked", _ASKED)
@pytest.mark.parametrize("most", [64, 4])
def test_steps_draw_what_the_sampler_draws(monkeypatch, asked, most):
    """Also where places of sets are given away while steps that read them are on their way."""
    monkeypatch.setattr(token_sets, "MOST", most)
    model = _with_clear_choices()
    by_steps, scores = _outputs(_ASKED[asked], model)
    counts = [1 + one["logprobs"] for one in _ASKED[asked] if "logprobs" in one]
    assert len(scores) == 30 * sum(counts)
    drawn: list[bool] = []
    is_drawn = Sampler.is_drawn_by_steps

    def never(sampler: Sampler, rows: list) -> bool:
        drawn.append(is_drawn(sampler, rows))
        return False

    monkeypatch.setattr(Sampler, "is_drawn_by_steps", never)
    by_sampler, expected = _outputs(_ASKED[asked], model)
    assert by_sampler == by_steps
    assert scores == pytest.approx(expected, abs=1e-4)
    assert drawn
    assert all(drawn), "a step could have drawn all of them"
