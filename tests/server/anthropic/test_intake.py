"""Requests of Anthropic's API as questions."""

import pytest

from ossia.harmony import Role
from ossia.server.anthropic.intake import take_in
from ossia.server.anthropic.schemas import CreateMessage
from ossia.server.api_error import ApiError
from ossia.server.body import validated
from ossia.server.reasoning_memory import ReasoningMemory
from ossia.server.settings import ServerSettings

TOOL = {"name": "lookup", "description": "Looks up.", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "lookup", "input": {"q": 1}}


def _take_in(memory=None, settings=None, **members):
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Hi"}],
        **members,
    }
    request = validated(body, CreateMessage)
    return take_in(request, settings or ServerSettings(), memory or ReasoningMemory())


def _said(intake):
    messages = intake.question.messages
    return [(one.author.role.value, one.channel, one.recipient, one.text) for one in messages][1:]


def test_a_tool_loop_is_replayed():
    intake = _take_in(
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        tools=[TOOL],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "7?"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Look.", "signature": "x"},
                    {"type": "text", "text": "I will look."},
                    CALL,
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "And?"},
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "7"}]},
                ],
            },
        ],
    )  # fmt: skip
    assert _said(intake)[1:] == [
        ("user", None, None, "7?"),
        ("assistant", "analysis", None, "Look."),
        ("assistant", "commentary", None, "I will look."),
        ("assistant", "commentary", "functions.lookup", '{"q": 1}'),
        ("tool", "commentary", "assistant", "7"),
        ("user", None, None, "And?"),
    ]
    assert intake.question.messages[1].author.role is Role.DEVELOPER


def test_a_dropped_thought_is_remembered():
    memory = ReasoningMemory()
    memory.put("toolu_1", "Look.")
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no", "is_error": True}
    intake = _take_in(
        memory,
        tools=[TOOL],
        messages=[
            {"role": "user", "content": "7?"},
            {"role": "assistant", "content": [CALL]},
            {"role": "user", "content": [result]},
        ],
    )
    assert ("assistant", "analysis", None, "Look.") in _said(intake)
    assert _said(intake)[-1][-1] == "Error: no"


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]}, "messages[0].content[0].tool_use_id"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "assistant", "content": [CALL | {"input": "x"}]}]}, "messages[0].content[0].input"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "base64"}}]}]}, "messages[0].content[0].source.type"),
        ({"tools": [{"type": "web_search_20260318", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": -1.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"top_k": -5}, "top_k"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_its_path(members, param):
    with pytest.raises(ApiError) as refused:
        _take_in(**members)
    assert refused.value.status == 400
    assert refused.value.param == param


def test_images_can_be_noted():
    image = {"role": "user", "content": [{"type": "image", "source": {}}]}
    intake = _take_in(settings=ServerSettings(images="note"), messages=[image])
    assert "cannot see images" in _said(intake)[-1][-1]


@pytest.mark.parametrize(
    ("members", "choice", "effort", "thoughts", "reasoning"),
    [
        ({}, "auto", "medium", "hidden", True),
        ({"thinking": {"type": "disabled"}}, "auto", "medium", "hidden", False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "auto", "low", "shown", True),
        ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, "auto", "high", "shown", True),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, "auto", "medium", "omitted", True),
        ({"output_config": {"effort": "max"}}, "auto", "high", "hidden", True),
        ({"tool_choice": {"type": "any"}}, "required", "medium", "hidden", True),
        ({"tool_choice": {"type": "tool", "name": "lookup"}}, "functions.lookup", "medium", "hidden", True),
        ({"tool_choice": {"type": "none"}}, "none", "medium", "hidden", True),
    ],
)  # fmt: skip
def test_choices(members, choice, effort, thoughts, reasoning):
    intake = _take_in(tools=[TOOL], **members)
    assert intake.question.tool_choice == choice
    assert intake.question.reasoning == reasoning
    assert intake.question.messages[0].content[0].reasoning_effort.value.lower() == effort
    assert intake.thoughts == thoughts


def test_schemas_become_grammars():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    intake = _take_in(
        tools=[TOOL | {"strict": True}],
        output_config={"format": {"type": "json_schema", "schema": schema}},
        stop_sequences=["x"],
        temperature=0.5,
    )
    assert set(intake.question.grammars) == {"final", "functions.lookup"}
    assert '"integer"' in intake.question.grammars["final"].source
    assert intake.question.stop == ["x"]
    assert intake.question.sampling.temperature == 0.5


def test_a_salt_parts_cached_prompts():
    assert _take_in(cache_salt="mine").question.cache_salt == "mine"
    assert _take_in().question.cache_salt == ""
    with pytest.raises(ApiError) as refused:
        _take_in(cache_salt="x" * 257)
    assert refused.value.param == "cache_salt"
