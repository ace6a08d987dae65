"""What a conversation tells the engine of the headers that may come."""

from __future__ import annotations

from datetime import date

import pytest
import torch

from ossia.api.conversation import respond
from ossia.api.opening import opening_messages, user_message
from ossia.api.question import Question
from ossia.api.tools import Tool
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.sync_engine import SyncEngine
from ossia.errors import RequestError
from ossia.harmony import Role, ToolDescription, parse_messages
from ossia.model.heads import CausalLM
from ossia.tokenizer import special
from ossia.types import Request, SamplingParams
from support.models import small_config
from support.scripted_engine import TOKENIZER, ScriptedEngine

ANSWER = "<|channel|>final<|message|>3<|return|>"
CALL = "<|channel|>commentary to=functions.add json<|message|>{}<|call|>"
THOUGHT = "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant"
TOOL = Tool(ToolDescription("add", "Adds."), lambda: "3")


def _requests(*scripts: str, tools: tuple[Tool, ...] = (), **settings: object) -> list[Request]:
    engine = ScriptedEngine(*scripts)
    messages = [*opening_messages(today=date(2026, 1, 2), tools=tools), user_message("Hi")]
    list(respond(engine, TOKENIZER, Question(messages, tools=tools, **settings)))
    return engine.requests


def _allows(request: Request, text: str) -> bool:
    assert request.make_mask is not None
    mask = request.make_mask(0)
    assert mask is not None
    for token in TOKENIZER.encode_with_special(text):
        allowed = mask.allowed()
        assert allowed is not None
        if token // 8 >= len(allowed) or not allowed[token // 8] >> token % 8 & 1:
            return False
        mask.accept(token)
    return True


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({}, {ANSWER, THOUGHT, CALL}),
        ({"tool_choice": "none"}, {ANSWER, THOUGHT}),
        ({"tool_choice": "required"}, {THOUGHT, CALL}),
        ({"tool_choice": "functions.add"}, {THOUGHT, CALL}),
        ({"reasoning": False}, {ANSWER, CALL}),
        ({"reasoning": False, "tool_choice": "required"}, {CALL}),
        ({"final_only": True}, {ANSWER}),
        ({"final_only": True, "tool_choice": "none"}, {ANSWER}),
    ],
)
def test_settings_decide_which_messages_may_come(
    settings: dict[str, object], allowed: set[str]
) -> None:
    (request,) = _requests(ANSWER, tools=(TOOL,), **settings)
    assert {text for text in (ANSWER, THOUGHT, CALL) if _allows(request, text)} == allowed


def test_without_tools_there_is_no_call() -> None:
    (request,) = _requests(ANSWER)
    assert _allows(request, THOUGHT + ANSWER)
    assert not _allows(request, CALL)
    assert not _allows(request, "<|channel|>commentary<|message|>")


def test_a_tool_that_was_not_offered_cannot_be_named() -> None:
    (request,) = _requests(ANSWER, tools=(TOOL,))
    assert not _allows(request, CALL.replace("add", "subtract"))


def test_once_a_call_was_made_the_answer_may_come() -> None:
    first, second = _requests(CALL, ANSWER, tools=(TOOL,), tool_choice="required")
    assert not _allows(first, ANSWER)
    assert _allows(second, ANSWER)
    assert _allows(second, CALL)


def test_a_choice_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(RequestError, match="no tool named"):
        _requests(ANSWER, tools=(TOOL,), tool_choice="functions.subtract")
    with pytest.raises(RequestError, match="only an answer may come"):
        _requests(ANSWER, tools=(TOOL,), tool_choice="required", final_only=True)


def test_random_weights_write_well_formed_headers() -> None:
    torch.manual_seed(0)
    model = CausalLM(small_config(vocab_size=special.VOCAB_SIZE, num_hidden_layers=1)).eval()
    engine = SyncEngine(EngineCore(model, EngineConfig(num_pages=64)))
    requests = _requests(ANSWER, tools=(TOOL,))
    sampling = SamplingParams(temperature=1.5, max_tokens=24, seed=1)
    request = Request(
        request_id="one",
        prompt_ids=requests[0].prompt_ids,
        sampling=sampling,
        make_mask=requests[0].make_mask,
    )
    (result,) = engine.generate([request])
    tokens = result.continuations[0].token_ids
    (message, *_) = parse_messages(TOKENIZER, tokens, Role.ASSISTANT, strict=True)
    assert message.recipient in (None, "functions.add")
