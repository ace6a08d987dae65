"""Calling functions: choose the tool that a request names, fill in its arguments, report its result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from demo import parameters, toolbox
from demo.dialogue import Call, Effort, Reply, Split, Step, ToolSays, UserSays
from demo.parameters import Parameter
from demo.tasks import fallback
from demo.text import bare, encode, encode_fresh, fill, join, spaced, tokens_at
from demo.toolbox import Tool
from demo.words import plain_word, salad

_GETTERS = frozenset(
    ["get", "find", "fetch", "search", "lookup", "list", "show", "read", "check", "query", "track"]
)
_BY_VERB = (
    "{V} the {n}{args}.",
    "{V} the {n}{args}.",
    "{V} {n}{args}",
    "{V} a {n}{args}.",
    "Please {v} the {n}{args}.",
    "Can you {v} the {n}{args}?",
    "Could you {v} a {n}{args}?",
    "I want to {v} the {n}{args}.",
    "I would like to {v} a {n}{args}.",
    "{v} the {n}{args}",
    "{v} my {n}{args}",
    "Hi, please {v} the {n}{args}.",
    "We need to {v} the {n}{args}.",
)
_BY_NOUN = (
    "What is the {n}{args}?",
    "What's the {n}{args}?",
    "what is the {n}{args}",
    "I need the {n}{args}.",
    "Tell me the {n}{args}.",
    "Give me the {n}{args}.",
    "Show me the {n}{args}.",
    "What is the {n}{args}?",
    "How is the {n}{args}?",
    "Do you know the {n}{args}?",
    "{n}{args}",
    "{n}{args}?",
    "the {n}{args} please",
    "What {n} is there{args}?",
    "Can you tell me the {n}{args}?",
    "Look up the {n}{args}.",
    "What's the {n} like{args}?",
)
_ASKED: dict[Effort, str] = {
    "low": "Asked:",
    "medium": "The user asked:",
    "high": "The user asked:",
}
_BY_NAME = ("Use {t}{args}.", "Call {t}{args}.", "Please use the tool {t}{args}.", "Run {t}{args}")


class _Asked(NamedTuple):
    """A request: its text and ids, what it asks for in its own tokens, and its arguments."""

    text: str
    ids: list[int]
    subject: list[int]
    given: list[Parameter]
    values: dict[str, str]
    value_ids: dict[str, list[int]]


def dialogue(rng: Random, split: Split) -> tuple[list[Tool], list[Step]]:
    """Tools, and one or two requests to them with their results."""
    tools = toolbox.toolset(rng, split)
    steps: list[Step] = []
    for _ in range(2 if rng.random() < 0.2 else 1):
        tool = rng.choice(tools)
        steps.append(request(rng, tools, tool))
        steps.append(result(rng, tool))
    return tools, steps


def unfitting(rng: Random, split: Split) -> tuple[list[Tool], list[Step]]:
    """Tools, and a request that none of them serves."""
    tools = toolbox.toolset(rng, split)
    if rng.random() < 0.35:
        return tools, [fallback.step(fallback.unanswerable(rng), with_tools=True)]
    nouns, verbs = {tool.noun for tool in tools}, {tool.verb for tool in tools}
    while True:
        missing = toolbox.toolset(rng, split, at_most=1)[0]
        # The verb alone must not make it look like one of the tools.
        if missing.noun not in nouns and missing.verb not in verbs:
            return tools, [_missing(_asked(rng, [missing, *tools], missing, by_name=False), tools)]


def request(rng: Random, tools: Sequence[Tool], tool: Tool) -> Step:
    """The step in which a user wants what `tool` does."""
    asked = _asked(rng, tools, tool, by_name=True)
    name_ids = encode(f" {tool.name}")
    call = Call(tool.name, join(".", bare(name_ids)), _arguments(asked))
    expected = (
        tool.name,
        {item.name: _json_value(item, asked.values[item.name]) for item in asked.given},
    )

    def reply(effort: Effort) -> Reply:
        return Reply(_reasoning(effort, tools, tool, asked), call=call)

    return Step(UserSays(asked.text, asked.ids), reply, "call", expected)


def _missing(asked: _Asked, tools: Sequence[Tool]) -> Step:
    """The step in which a user wants what no tool does."""

    def reply(effort: Effort) -> Reply:
        opening: list[str | Sequence[int]] = [_ASKED[effort], asked.subject, ". "]
        if effort == "high":
            opening = ["My tools:", *_listed([tool.name for tool in tools]), ". ", *opening]
        return Reply(
            join(*opening, fallback.NO_TOOL_ANALYSIS[effort]), list(encode(fallback.ANSWER))
        )

    return Step(UserSays(asked.text, asked.ids), reply, "no tool", fallback.ANSWER)


def result(rng: Random, tool: Tool) -> Step:
    """The step in which the tool has answered and its answer is passed on."""
    chance = rng.random()
    if chance < 0.75:
        text, final = _fields_result(rng)
    elif chance < 0.82:
        reason = salad(rng, 1, 5)
        text, ids = _serialized(rng, {"error": reason})
        final = join("The tool reports an error:", spaced(_slice(text, ids, reason)), ".")
    else:
        text = _free_result(rng)
        final = join("The tool says:\n", encode_fresh(text))
    name_ids = encode(f" {tool.name}")

    def reply(effort: Effort) -> Reply:
        analysis = {
            "low": join("I pass it on."),
            "medium": join("The tool", name_ids, " has answered, so I pass its result on."),
            "high": join(
                "The tool",
                name_ids,
                " has answered, so I pass its result on. Nothing else was asked and no other call is needed. I keep its words and numbers as they are.",
            ),
        }[effort]
        return Reply(analysis, final)

    return Step(ToolSays(tool.name, text, encode_fresh(text)), reply, "result", final)


def _asked(rng: Random, tools: Sequence[Tool], tool: Tool, by_name: bool) -> _Asked:
    """A request for a tool with some of its arguments."""
    values: dict[str, str] = {}
    arguments: list[str] = []
    for item in tool.parameters:
        if item.required or rng.random() < 0.5:
            values[item.name] = parameters.value_of(rng, item)
            arguments.append(_argument(rng, item, values[item.name]))
    if rng.random() < 0.3:
        rng.shuffle(arguments)
    template = _template(rng, tools, tool, by_name).replace("{args}", _joined(rng, arguments))
    words = {"V": tool.verb.capitalize(), "v": tool.verb, "n": tool.noun, "t": tool.name}
    text, spans = fill(template, values | words)
    ids = encode_fresh(text)
    subject = [spaced(tokens_at(text, ids, spans[place])) for place in "Vvtn" if place in spans]
    given = [item for item in tool.parameters if item.name in values]
    value_ids = {item.name: _value_ids(item, text, ids, spans, values) for item in given}
    return _Asked(text, ids, join(*subject), given, values, value_ids)


def _template(rng: Random, tools: Sequence[Tool], tool: Tool, by_name: bool) -> str:
    """By its noun alone only where no other tool shares that."""
    alone = sum(other.noun == tool.noun for other in tools) == 1
    chance = rng.random()
    if by_name and chance < 0.06:
        return rng.choice(_BY_NAME)
    if alone and tool.verb in _GETTERS and chance < 0.7:
        return rng.choice(_BY_NOUN)
    return rng.choice(_BY_VERB)


def _joined(rng: Random, arguments: Sequence[str]) -> str:
    return "".join(
        f"{',' if idx and rng.random() < 0.3 else ''} {argument}"
        for idx, argument in enumerate(arguments)
    )


def _argument(rng: Random, item: Parameter, value: str) -> str:
    if item.kind == "boolean":
        return item.phrases[0 if value == "true" else 1]
    return rng.choice(item.phrases).replace("{v}", f"{{{item.name}}}")


def _value_ids(
    item: Parameter,
    text: str,
    ids: Sequence[int],
    spans: Mapping[str, tuple[int, int]],
    values: Mapping[str, str],
) -> list[int]:
    if item.kind in ("enum", "boolean"):
        return list(encode(values[item.name]))
    return tokens_at(text, ids, spans[item.name])


def _arguments(asked: _Asked) -> list[int]:
    """The JSON object, cut into tokens as the tokenizer would cut compact JSON."""
    if not asked.given:
        return join("{}")
    parts: list[str | Sequence[int]] = ['{"']
    for idx, item in enumerate(asked.given):
        last = idx == len(asked.given) - 1
        quoted = item.kind in ("string", "enum")
        closing = ('"}' if last else '","') if quoted else ("}" if last else ',"')
        parts += [item.name, '":"' if quoted else '":', bare(asked.value_ids[item.name]), closing]
    return join(*parts)


def _json_value(item: Parameter, value: str) -> Any:  # noqa: ANN401  # JSON holds any of these
    return value if item.kind in ("string", "enum") else json.loads(value)


def _reasoning(effort: Effort, tools: Sequence[Tool], tool: Tool, asked: _Asked) -> list[int]:
    """What is asked in the request's own tokens, then the tool, then each argument with its value."""
    name_ids = encode(f" {tool.name}")
    pairs: list[str | Sequence[int]] = []
    for idx, item in enumerate(asked.given):
        pairs += ["," if idx else "", spaced(encode(item.name)), spaced(asked.value_ids[item.name])]
    opening = [_ASKED[effort], asked.subject]
    if effort == "low":
        return join(*opening, ". I use", name_ids, ":" if pairs else "", *pairs, ".")
    body = [
        *opening,
        ". The tool",
        name_ids,
        " fits this request. Its arguments:",
        *(pairs or [" none"]),
        ".",
    ]
    if effort == "medium":
        return join(*body)
    left_out = _listed([item.name for item in tool.parameters if item not in asked.given]) or [
        " none"
    ]
    offered = _listed([other.name for other in tools])
    return join(
        "My tools:", *offered, ". ", *body, " Left out:", *left_out, ". So I call", name_ids, "."
    )


def _listed(names: Sequence[str]) -> list[str]:
    return [f"{',' if idx else ''} {name}" for idx, name in enumerate(names)]


def _fields_result(rng: Random) -> tuple[str, list[int]]:
    """A flat JSON object, and the sentence that lists its fields."""
    fields: dict[str, Any] = {}
    kinds = (
        "place",
        "date",
        "day",
        "time",
        "small",
        "integer",
        "number",
        "symbol",
        "code",
        "color",
        "text",
        "word",
        "person",
    )
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4))):
        kind = rng.choice(kinds)
        value = parameters.plain_value(rng, kind)
        key = plain_word(rng) if rng.random() < 0.75 else f"{plain_word(rng)}_{plain_word(rng)}"
        fields[key] = json.loads(value) if kind in ("small", "integer", "number") else value
        if rng.random() < 0.08:
            fields[key] = rng.random() < 0.5
    text, ids = _serialized(rng, fields)
    parts: list[str | Sequence[int]] = ["Result:"]
    position = 0
    for idx, (key, value) in enumerate(fields.items()):
        shown = json.dumps(value, ensure_ascii=False).strip('"')
        start = text.index(f'"{key}"', position) + 1
        value_start = text.index(shown, start + len(key) + 2)
        position = value_start + len(shown)
        key_ids = tokens_at(text, ids, (start, start + len(key)))
        parts += [
            "," if idx else "",
            spaced(key_ids),
            spaced(tokens_at(text, ids, (value_start, position))),
        ]
    return text, join(*parts, ".")


def _serialized(rng: Random, fields: Mapping[str, Any]) -> tuple[str, list[int]]:
    compact = rng.random() < 0.5
    text = json.dumps(
        fields, ensure_ascii=False, separators=(",", ":") if compact else (", ", ": ")
    )
    return text, encode_fresh(text)


def _slice(text: str, ids: Sequence[int], part: str) -> list[int]:
    start = text.rindex(part)
    return tokens_at(text, ids, (start, start + len(part)))


def _free_result(rng: Random) -> str:
    """A result that is no flat object: words, a list, a number, or JSON inside a JSON string."""
    chance = rng.random()
    if chance < 0.4:
        return salad(rng, 1, 10).capitalize() + rng.choice(
            ("", ".", f" {rng.randint(0, 999)}", f", {rng.randint(0, 999)} {plain_word(rng)}.")
        )
    if chance < 0.6:
        return json.dumps([plain_word(rng) for _ in range(rng.randint(1, 5))])
    if chance < 0.7:
        return str(rng.randint(0, 9999))
    if chance < 0.85:
        inner, _ = _serialized(
            rng, {plain_word(rng): rng.randint(0, 999), plain_word(rng): plain_word(rng)}
        )
        return json.dumps(inner)
    return json.dumps(
        {
            plain_word(rng): [rng.randint(0, 99), rng.randint(0, 99)],
            plain_word(rng): {plain_word(rng): plain_word(rng)},
        }
    )
