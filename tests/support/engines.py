"""Engines over small models, and the plain recomputation to compare them with."""

from __future__ import annotations

import functools

import torch

from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.model.batch import ForwardBatch
from ossia.model.heads import CausalLM
from ossia.types import Request, SamplingParams, TokenOutput
from support.fake_model import FakeRunner
from support.models import small_config, small_model


@functools.cache
def double_model(
    seed: int = 0, window: int = 8, layers: int = 2, context: int = 131_072
) -> CausalLM:
    """A small model in float64, where batching cannot turn one token into another."""
    model = small_model(
        seed, sliding_window=window, num_hidden_layers=layers, max_position_embeddings=context
    )
    return model.double().eval()


@functools.cache
def naive_logits(model: CausalLM, token_ids: tuple[int, ...]) -> torch.Tensor:
    """(tokens, vocab), computed without cache, pages or neighbours."""
    with torch.no_grad():
        return model(ForwardBatch.from_sequences([list(token_ids)]))


def naive_greedy(model: CausalLM, prompt: tuple[int, ...], count: int) -> list[int]:
    """Greedy output by recomputing everything for every token."""
    token_ids = tuple(prompt)
    for _ in range(count):
        token_ids += (int(naive_logits(model, token_ids)[-1].argmax()),)
    return list(token_ids[len(prompt) :])


def greedy(request_id: str, prompt: tuple[int, ...], max_tokens: int, **more: object) -> Request:
    """A greedy request."""
    sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens, **more)  # type: ignore[arg-type]
    return Request(request_id=request_id, prompt_ids=tuple(prompt), sampling=sampling)


class FakeClock:
    """A clock that moves when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fake_core(
    *,
    window: int = 6,
    layers: int = 2,
    context: int = 64,
    vocab: int = 97,
    looks_ahead: bool = False,
    **config: object,
) -> tuple[EngineCore, FakeRunner, FakeClock]:
    """A core over a FakeRunner, with the runner and the clock at hand."""
    runners: list[FakeRunner] = []
    clock = FakeClock()
    model_config = small_config(
        sliding_window=window,
        num_hidden_layers=layers,
        max_position_embeddings=context,
        vocab_size=vocab,
    )

    def make_runner(_: object, engine_config: EngineConfig) -> FakeRunner:
        runners.append(FakeRunner(model_config, engine_config, looks_ahead=looks_ahead))
        return runners[0]

    engine_config = EngineConfig(**config)  # type: ignore[arg-type]
    core = EngineCore(None, engine_config, make_runner=make_runner, clock=clock)  # type: ignore[arg-type]
    return core, runners[0], clock


def run_to_end(core: EngineCore, max_steps: int = 10_000) -> list[TokenOutput]:
    """Step until nothing is live, checking the books after each step."""
    outputs: list[TokenOutput] = []
    for _ in range(max_steps):
        if not core.has_work:
            return outputs
        outputs += core.step()
        core.check()
    raise AssertionError("the engine does not come to an end")


def tokens_of(outputs: list[TokenOutput], request_id: str, index: int = 0) -> list[int]:
    """The token ids of one continuation."""
    return [
        output.token_id
        for output in outputs
        if (output.request_id, output.index) == (request_id, index) and output.token_id is not None
    ]
