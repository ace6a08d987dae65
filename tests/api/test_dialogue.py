"""Dialogues: what is remembered, and what is not."""

from __future__ import annotations

import pytest
import torch

from ossia.api.dialogue import Dialogue
from ossia.api.events import Done, TextDelta
from ossia.api.opening import opening_messages
from ossia.api.runtime import Runtime
from ossia.errors import EngineClosedError
from ossia.types import FinishReason
from support.scripted_engine import TOKENIZER, ScriptedEngine

ANSWERS = [
    "<|channel|>analysis<|message|>Thought.<|end|><|start|>assistant<|channel|>final<|message|>"
    f"Answer {number}.<|return|>"
    for number in range(3)
]


def _dialogue(*scripts: str, **changes) -> tuple[Dialogue, ScriptedEngine]:
    engine = ScriptedEngine(*scripts, **changes)
    return Dialogue(Runtime(TOKENIZER, engine, torch.nn.Linear(1, 1)), opening_messages()), engine


def test_questions_and_answers_are_remembered_and_reasoning_is_not_sent_again():
    dialogue, engine = _dialogue(*ANSWERS)
    for question in ("One?", "Two?"):
        events = list(dialogue.ask(question))
        assert isinstance(events[-1], Done)
    second = TOKENIZER.decode(engine.requests[1].prompt_ids)
    assert "One?" in second
    assert "Answer 0.<|end|>" in second
    assert "Thought." not in second
    dialogue.reset()
    assert dialogue.history == ()
    list(dialogue.ask("Three?"))
    assert "One?" not in TOKENIZER.decode(engine.requests[2].prompt_ids)


def test_an_answer_that_was_stopped_counts_as_far_as_it_went():
    dialogue, _ = _dialogue(*ANSWERS)
    events = dialogue.ask("One?")
    for event in events:
        if isinstance(event, TextDelta):
            events.close()
    assert [message.text for message in dialogue.history] == ["One?", "Answer"]


def test_a_question_without_any_answer_is_forgotten():
    dialogue, engine = _dialogue(*ANSWERS)
    events = dialogue.ask("One?")
    next(events)
    events.close()
    assert dialogue.history == ()
    assert engine.closed_early == 1


def test_a_failure_leaves_the_memory_as_it_was():
    dialogue, _ = _dialogue("<|channel|>analysis", ends=FinishReason.ERROR)
    with pytest.raises(EngineClosedError):
        list(dialogue.ask("One?"))
    assert dialogue.history == ()
