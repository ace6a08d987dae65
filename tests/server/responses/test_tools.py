from __future__ import annotations

import pytest

from ossia.server.api_error import ApiError
from ossia.server.responses.tool_choice import read_tool_choice
from ossia.server.responses.tools import REFUSED_TOOLS, read_tools
from ossia.server.responses.web_search import WEB_SEARCH_KINDS
from ossia.structured import Grammar, GrammarKind
from support.responses import prompt_of, read

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
F = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}
G = {"type": "function", "name": "g", "parameters": SCHEMA, "strict": False}
SHELL = {"type": "custom", "name": "sh", "description": "Runs it."}
CRM = {"type": "namespace", "name": "crm", "description": "Customers.", "tools": [F, SHELL]}
SEARCH = {"type": "web_search", "external_web_access": True}


def refusal(tools=(), **body) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read({"input": "Hi", "tools": list(tools), **body})
    assert caught.value.status == 400
    return caught.value


def test_functions_custom_tools_and_namespaces_are_offered():
    prompt = prompt_of({"input": "Hi", "tools": [F, SHELL, CRM]})
    assert "## crm\n\n// Customers.\nnamespace crm {" in prompt
    assert "namespace functions {" in prompt
    assert "// Runs it." in prompt
    assert "type sh = (_: string) => any;" in prompt


def test_what_codex_sends_is_taken_and_what_is_left_out_is_noted():
    nested = {
        "type": "namespace",
        "name": "multi_agent",
        "description": "Agents.",
        "tools": [{**F, "name": "spawn", "defer_loading": True}],
    }
    intake = read(
        {
            "input": [{"type": "message", "role": "user", "content": "Hi"}],
            "tools": [F, nested, SEARCH],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "reasoning": {"summary": "auto"},
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": "k",
            "client_metadata": {"x": "y"},
            "text": {"verbosity": "low"},
        }
    )
    assert intake.prompt.notes == ("tools[2] (web_search: start the server with --web-search)",)
    assert [tool["type"] for tool in intake.response["tools"]] == ["function", "namespace"]


def test_schemas_hold_arguments_strictly_or_as_far_as_they_can_be_enforced():
    question = read({"input": "Hi", "tools": [F, G, {"type": "function", "name": "h"}]}).question
    assert question.grammars["functions.f"] == Grammar.json_schema(SCHEMA)
    assert question.grammars["functions.g"] == Grammar.json_schema(SCHEMA, strict=False)
    assert question.grammars["functions.h"] == Grammar(GrammarKind.JSON_OBJECT)


def test_a_search_that_is_left_out_must_make_sense_all_the_same():
    with pytest.raises(ApiError) as refused:
        read({"input": "Hi", "tools": [F, {**SEARCH, "search_context_size": "huge"}]})
    assert refused.value.param == "tools[1].search_context_size"


@pytest.mark.parametrize(("syntax", "kind"), [("lark", GrammarKind.LARK), ("regex", "regex")])
def test_custom_tools_may_have_grammars(syntax, kind):
    given = {"type": "grammar", "syntax": syntax, "definition": "[ab]+"}
    tools = [{**SHELL, "format": given}]
    assert read({"input": "Hi", "tools": tools}).question.grammars == {
        "functions.sh": Grammar(GrammarKind(kind), "[ab]+")
    }
    assert "// [ab]+" in prompt_of({"input": "Hi", "tools": tools})


@pytest.mark.parametrize("given", [{"type": "text"}, {"type": "text", "grammar": None}])
def test_custom_tools_may_say_that_they_have_none(given):
    intake = read({"input": "Hi", "tools": [{**SHELL, "format": given}]})
    assert intake.question.grammars == {}


def test_a_function_in_the_form_of_chat_is_taken():
    tool = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
    intake = read({"input": "Hi", "tools": [tool]})
    assert intake.response["tools"][0]["name"] == "f"
    assert "functions.f" in intake.question.grammars


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({}, "tools[0].type"),
        ({"type": "wand"}, "tools[0].type"),
        ({"type": "function"}, "tools[0].name"),
        ({"type": "function", "name": 3}, "tools[0].name"),
        ({"type": "function", "name": "a b"}, "tools[0].name"),
        ({"type": "function", "name": "x" * 129}, "tools[0].name"),
        ({"type": "function", "name": "f", "parameters": []}, "tools[0].parameters"),
        ({**CRM, "tools": []}, "tools[0].tools"),
        ({**CRM, "tools": [SEARCH]}, "tools[0].tools[0].type"),
        ({**CRM, "tools": [{"type": "function"}]}, "tools[0].tools[0].name"),
        ({**SHELL, "format": {"type": "grammar"}}, "tools[0].format.syntax"),
        ({**SHELL, "format": {"type": "x"}}, "tools[0].format.type"),
    ],
)
def test_what_is_wrong_with_a_tool_is_said_by_its_path(tool, param):
    assert refusal([tool]).param == param


@pytest.mark.parametrize("kind", sorted(REFUSED_TOOLS))
def test_tools_that_nobody_here_runs_are_refused_by_name(kind):
    error = refusal([{"type": kind}])
    assert repr(kind) in error.message
    assert error.code == "unsupported_tool"


@pytest.mark.parametrize("kind", sorted(WEB_SEARCH_KINDS))
def test_searches_never_fail_a_request(kind):
    assert read({"input": "Hi", "tools": [{"type": kind}]}).prompt.notes


def test_there_may_be_many_tools_but_not_any_number():
    tools = [{"type": "function", "name": f"f{i}"} for i in range(1025)]
    assert read({"input": "Hi", "tools": tools[:-1]})
    assert refusal(tools).param == "tools"


def test_two_tools_of_one_name_are_refused():
    assert refusal([F, F]).param == "tools[1].name"
    # Events would name both alike.
    assert refusal([{**F, "name": "crm.f"}, CRM]).param == "tools[1].tools[0].name"


# tool_choice


@pytest.mark.parametrize(
    ("choice", "asked"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "f"}, "functions.f"),
        ({"type": "function", "function": {"name": "g"}}, "functions.g"),
        ({"type": "function", "name": "f", "namespace": "crm"}, "crm.f"),
        ({"type": "custom", "name": "sh"}, "crm.sh"),
    ],
)
def test_a_tool_choice_arrives(choice, asked):
    body = {"input": "Hi", "tools": [F, G, CRM], "tool_choice": choice}
    assert read(body).question.tool_choice == asked


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_only_allowed_tools_are_on_offer(mode):
    allowed = [{"type": "function", "name": "g"}, {"type": "namespace", "name": "crm"}, SEARCH]
    choice = {"type": "allowed_tools", "mode": mode, "tools": allowed}
    intake = read({"input": "Hi", "tools": [F, G, CRM], "tool_choice": choice})
    assert intake.question.tool_choice == mode
    assert set(intake.question.grammars) == {"functions.g", "crm.f"}
    assert intake.response["tool_choice"] == choice
    assert len(intake.response["tools"]) == 3
    offered = intake.question.messages[1].content[0].tools
    assert [tool.name for tool in offered["functions"].tools] == ["g"]
    assert [tool.name for tool in offered["crm"].tools] == ["f", "sh"]


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ("maybe", "tool_choice"),
        ({}, "tool_choice.type"),
        ({"type": "wand"}, "tool_choice.type"),
        ({"type": "web_search_preview"}, "tool_choice.type"),
        ({"type": "mcp", "server_label": "x"}, "tool_choice.type"),
        ({"type": "function"}, "tool_choice.name"),
        ({"type": "function", "name": "x"}, "tool_choice.name"),
        ({"type": "allowed_tools", "mode": "none", "tools": []}, "tool_choice.mode"),
        ({"type": "allowed_tools", "mode": "auto", "tools": 3}, "tool_choice.tools"),
        ({"type": "allowed_tools", "mode": "required", "tools": []}, "tool_choice.tools"),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "x"}]},
            "tool_choice.tools[0].name",
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": ["web_search"]}]},
            "tool_choice.tools[0].name",
        ),
        ({"type": ["web_search"]}, "tool_choice.type"),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "namespace", "name": "f"}],
            },
            "tool_choice.tools[0].name",
        ),
    ],
)
def test_a_choice_that_cannot_be_is_refused(choice, param):
    assert refusal([F, G], tool_choice=choice).param == param


@pytest.mark.parametrize("tools", [[], [SEARCH]])
def test_a_call_cannot_be_required_without_tools(tools):
    assert refusal(tools, tool_choice="required").param == "tool_choice"


def test_an_empty_table_offers_nothing():
    table = read_tools([])
    assert (table.groups, table.grammars) == ({}, {})
    assert read_tool_choice(None, table).choice == "auto"
