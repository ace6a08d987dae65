"""The shipped model through the command line: the first thing that anybody tries."""

from __future__ import annotations

import io
import sys

import pytest

from ossia.api.conversation import respond
from ossia.api.events import Done, Ending
from ossia.api.opening import opening_messages, user_message
from ossia.api.question import Question
from ossia.api.runtime import Runtime
from ossia.cli.main import main
from ossia.engine.config import EngineConfig
from ossia.harmony import ReasoningEffort
from ossia.types import SamplingParams

QUESTION = "How many rs are in the word 'strawberry'?"
GREEDY = ["--temperature", "0", "--device", "cpu"]


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    """A cache of the tests' own, in which the first test unpacks the model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSSIA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch):
    """Threads stay as the tests have them."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_strawberry(capsys):
    assert main(["run", QUESTION, "--show-reasoning", *GREEDY]) == 0
    captured = capsys.readouterr()
    reasoning, _, answer = captured.out.rpartition("\n\n")
    assert reasoning.strip()
    assert "3" in answer
    assert captured.err == ""


def test_a_chat_follows_up(capsys, monkeypatch):
    lines = b"What is the capital of France?\nAnd of Spain?\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    assert main(["chat", *GREEDY]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert "Paris" in first
    assert "Madrid" in second


@pytest.fixture(scope="module")
def runtime(_cache) -> Runtime:
    """The demo, loaded once."""
    config = EngineConfig(max_sequences=1, max_context=1024)
    return Runtime.load("demo", device="cpu", config=config)


def _ask(runtime: Runtime, question: str, *, effort: str = "medium", **sampling) -> Done:
    messages = [*opening_messages(effort=ReasoningEffort(effort)), user_message(question)]
    params = SamplingParams(**sampling)
    *_, done = respond(runtime.engine, runtime.tokenizer, Question(messages, sampling=params))
    assert isinstance(done, Done)
    return done


def test_answers_are_sharp_at_the_default_temperature(runtime):
    for seed in range(2):
        done = _ask(runtime, QUESTION, seed=seed)
        assert done.finish_reason is Ending.STOP
        assert "3" in done.messages[-1].text


def test_more_effort_is_more_reasoning(runtime):
    lengths = []
    for effort in ("low", "medium", "high"):
        done = _ask(runtime, "What is 345 - 87?", effort=effort, temperature=0)
        assert "258" in done.messages[-1].text
        assert [message.channel for message in done.messages] == ["analysis", "final"]
        lengths.append(done.usage.reasoning_tokens)
    assert lengths == sorted(set(lengths))
