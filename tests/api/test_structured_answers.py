"""Grammars of a question hold for the answer and for the arguments of calls, and for them alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import date
from random import Random

import pytest
import torch

from fuzz import structured
from ossia.api.conversation import respond, respond_async
from ossia.api.opening import opening_messages, user_message
from ossia.api.question import Question
from ossia.api.runtime import Runtime
from ossia.api.tools import Tool
from ossia.api.turn_masks import BoundMasks, TurnMasks
from ossia.engine.config import EngineConfig
from ossia.engine.core import EngineCore
from ossia.engine.sync_engine import SyncEngine
from ossia.errors import GrammarCostError, RequestError
from ossia.harmony import HeaderRules, ToolDescription
from ossia.model.heads import CausalLM
from ossia.structured import Grammar
from ossia.tokenizer import special
from ossia.types import FinishReason, Request, SamplingParams
from support.models import small_config
from support.scripted_engine import TOKENIZER, ScriptedAsyncEngine, ScriptedEngine

OBJECT = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
ANSWER = '<|channel|>final<|message|>{"a": 3}<|return|>'
FREE_ANSWER = "<|channel|>final<|message|>3<|return|>"
CALL = '<|channel|>commentary to=functions.add json<|message|>{"a": 1}<|call|>'
FREE_CALL = "<|channel|>commentary to=functions.add json<|message|>{}<|call|>"
THOUGHT = "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant"
PREAMBLE = "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant"
TOOL = Tool(ToolDescription("add", "Adds."), lambda **_: "3")


def _question(tools: tuple[Tool, ...] = (TOOL,), **settings: object) -> Question:
    messages = [*opening_messages(today=date(2026, 1, 2), tools=tools), user_message("Hi")]
    return Question(messages, tools=tools, **settings)


def _requests(*scripts: str, **settings: object) -> list[Request]:
    engine = ScriptedEngine(*scripts)
    list(respond(engine, TOKENIZER, _question(**settings)))
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
    ("grammars", "allowed"),
    [
        ({}, {ANSWER, FREE_ANSWER, CALL, FREE_CALL}),
        ({"final": OBJECT}, {ANSWER, CALL, FREE_CALL}),
        ({"functions.add": OBJECT}, {ANSWER, FREE_ANSWER, CALL}),
        ({"final": OBJECT, "functions.add": OBJECT}, {ANSWER, CALL}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_grammars_hold_for_their_own_content(
    grammars: dict[str, dict[str, object]], allowed: set[str]
) -> None:
    chosen = {name: Grammar.json_schema(schema) for name, schema in grammars.items()}
    (request,) = _requests(ANSWER, grammars=chosen)
    every = (ANSWER, FREE_ANSWER, CALL, FREE_CALL)
    assert {text for text in every if _allows(request, text)} == allowed
    # Words before a call, and thoughts, are no answers: they stay free.
    assert {text for text in every if _allows(request, THOUGHT + PREAMBLE + text)} == allowed


def test_grammars_outlive_a_call() -> None:
    grammars = {"final": Grammar.json_schema(OBJECT), "functions.add": Grammar.json_schema(OBJECT)}
    _, second = _requests(CALL, ANSWER, grammars=grammars, tool_choice="required")
    assert _allows(second, ANSWER)
    assert not _allows(second, FREE_ANSWER)
    assert not _allows(second, FREE_CALL)


def test_a_custom_tool_takes_text_of_its_grammar() -> None:
    (request,) = _requests(ANSWER, grammars={"functions.add": Grammar.lark('start: "x"+')})
    written = "<|channel|>commentary to=functions.add<|message|>{}<|call|>"
    assert _allows(request, written.format("xxx"))
    assert not _allows(request, written.format(""))
    assert not _allows(request, written.format("y"))


def test_what_cannot_be_enforced_is_refused_before_anything_runs() -> None:
    question = _question(grammars={"final": Grammar.json_schema({"not": {}}, field="text.format")})
    engine = ScriptedEngine(ANSWER)
    with pytest.raises(RequestError, match=r"^text\.format: a schema that uses 'not'"):
        list(respond(engine, TOKENIZER, question))
    assert engine.requests == []
    nameless = _question(grammars={"functions.add": Grammar.regex("(")})
    with pytest.raises(RequestError, match=r"^grammars\.functions\.add: a regular expression"):
        list(respond(engine, TOKENIZER, nameless))


def test_the_asynchronous_front_refuses_too() -> None:
    question = _question(grammars={"final": Grammar.json_schema({"not": {}})})

    async def drain() -> None:
        async for _ in respond_async(ScriptedAsyncEngine(ANSWER), TOKENIZER, question):
            pass

    with pytest.raises(RequestError, match="uses 'not'"):
        asyncio.run(drain())


def test_grammars_that_nothing_can_need_are_not_compiled() -> None:
    rules = HeaderRules(functions=("functions.add",), tool_choice="none")
    masks = TurnMasks(rules=rules, grammars={"functions.add": Grammar.regex("(")})
    BoundMasks(masks, TOKENIZER).prepare()


def test_grammars_for_nobody_and_least_lengths_are_refused() -> None:
    with pytest.raises(RequestError, match=r"no tool named 'functions\.sub' is on offer"):
        _requests(ANSWER, grammars={"functions.sub": Grammar.json_object()})
    sampling = SamplingParams(min_tokens=3)
    with pytest.raises(RequestError, match="min_tokens"):
        _requests(ANSWER, grammars={"final": Grammar.json_object()}, sampling=sampling)


def test_masks_travel_as_json() -> None:
    masks = TurnMasks(
        rules=HeaderRules(functions=("functions.add",)),
        grammars={"final": Grammar.json_schema(OBJECT, strict=False, field="here")},
    )
    assert TurnMasks.from_dict(json.loads(json.dumps(masks.to_dict()))) == masks


def test_who_only_passes_grammars_on_does_not_load_what_compiles_them() -> None:
    code = "import sys, ossia.api.answer, ossia.server.service; print('llguidance' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture(scope="module")
def runtime() -> Runtime:
    torch.manual_seed(0)
    model = CausalLM(small_config(vocab_size=special.VOCAB_SIZE, num_hidden_layers=1)).eval()
    engine = SyncEngine(EngineCore(model, EngineConfig(num_pages=512)))
    return Runtime(TOKENIZER, engine, model)


def test_random_weights_write_what_random_schemas_say(runtime: Runtime) -> None:
    found = structured.run(runtime, 12, seed=3, max_tokens=60, alike=1)
    assert found.wrong == []
    assert found.counts["finished"] >= 3


def test_what_turns_out_too_costly_is_the_grammars_fault_and_not_the_engines(
    runtime: Runtime,
) -> None:
    bomb = Grammar.regex("((a{1,200}){1,200}){1,200}")
    liked = dict.fromkeys(TOKENIZER.encode_with_special("final<|message|>aaaaaaaa"), 100.0)
    sampling = SamplingParams(temperature=0.0, max_tokens=60, logit_bias=liked)
    question = _question((), grammars={"final": bomb}, tool_choice="none", sampling=sampling)
    with pytest.raises(GrammarCostError, match=r"^the grammar .*; make it smaller"):
        list(respond(runtime.engine, TOKENIZER, question))


def test_continuations_of_one_request_have_masks_of_their_own(runtime: Runtime) -> None:
    case = structured.Case({"final": {"enum": ["one", "two", "three", 4]}}, "none")
    sampling = SamplingParams(
        temperature=1.5, max_tokens=30, n=6, seed=1, stop_token_ids=(special.RETURN,)
    )
    first, again = (
        runtime.engine.generate([case.request(number, runtime, sampling)])[0] for number in (0, 1)
    )
    texts = [TOKENIZER.decode(one.token_ids, skip_special=True) for one in first.continuations]
    assert all(one.finish_reason is FinishReason.STOP for one in first.continuations)
    assert {text.removeprefix("final").removeprefix(" ").removeprefix("json") for text in texts} <= {
        '"one"', '"two"', '"three"', "4",
    }  # fmt: skip
    assert len(set(texts)) > 1
    assert [one.token_ids for one in first.continuations] == [
        one.token_ids for one in again.continuations
    ], "a seed repeats"


def test_the_judge_of_structured_texts_finds_what_is_wrong() -> None:
    found, case = structured.Found(), structured.Case({"final": {"type": "integer"}}, "none")
    ids = TOKENIZER.encode_with_special("<|channel|>final<|message|>x<|return|>")
    one = structured.Continuation(ids, finish_reason=FinishReason.STOP)
    structured.judge(case, TOKENIZER, one, found)
    assert len(found.wrong) == 1
    must = structured.random_case(Random(1), set())
    must = structured.Case({"functions.f": must.schemas.popitem()[1]}, "functions.f")
    structured.judge(must, TOKENIZER, one, found)
    assert len(found.wrong) == 2
