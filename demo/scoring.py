"""Whether a reply is right: form, answer, tool, arguments, length of reasoning."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from demo.conversations import Conversation, Kind, random_conversation
from demo.dialogue import EFFORTS, Effort
from demo.prompts import CHATGPT, Header, system_text
from demo.tasks import arithmetic, calling, counting
from demo.text import decode, encode
from demo.toolbox import tools_section, toolset
from ossia.tokenizer import special

Generate = Callable[[Sequence[Sequence[int]]], list[list[int]]]

_ANALYSIS = (special.CHANNEL, *encode("analysis"), special.MESSAGE)
_NEXT = (special.END, special.START, *encode("assistant"))
_FINAL = (special.CHANNEL, *encode("final"), special.MESSAGE)
_CALL = (
    special.CHANNEL,
    *encode("commentary "),
    special.CONSTRAIN,
    *encode("json"),
    special.MESSAGE,
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A well-formed reply: reasoning, and a final text or a call's name and arguments."""

    analysis: list[int]
    final: str | None = None
    call: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """What is measured of one reply; call measures are None where no call was expected."""

    effort: Effort
    well_formed: bool
    right: bool
    analysis_tokens: int
    valid_json: bool | None = None
    right_tool: bool | None = None
    right_arguments: bool | None = None


def parse(ids: Sequence[int]) -> Parsed | None:
    """Take a reply apart; None if it is not exactly reasoning and then an answer or a call."""
    if not ids or tuple(ids[: len(_ANALYSIS)]) != _ANALYSIS:
        return None
    cut = _find(ids, _NEXT)
    if cut < 0:
        return None
    analysis, rest = list(ids[len(_ANALYSIS) : cut]), list(ids[cut + len(_NEXT) :])
    if any(map(special.is_special, analysis)):
        return None
    if tuple(rest[: len(_FINAL)]) == _FINAL and rest[-1] == special.RETURN:
        body = rest[len(_FINAL) : -1]
        return None if any(map(special.is_special, body)) else Parsed(analysis, final=decode(body))
    header_end = _find(rest, _CALL)
    if header_end < 0 or rest[-1] != special.CALL:
        return None
    name, body = rest[:header_end], rest[header_end + len(_CALL) : -1]
    if any(map(special.is_special, name + body)) or not decode(name).startswith(" to=functions."):
        return None
    return Parsed(analysis, call=(decode(name).removeprefix(" to=functions."), decode(body)))


def score(conversation: Conversation, ids: Sequence[int]) -> Score:
    """Compare a reply with what the conversation's last step expects."""
    parsed = parse(ids)
    step, effort = conversation.steps[-1], conversation.header.effort
    tokens = len(parsed.analysis) if parsed else 0
    if step.task == "call":
        return _call_score(effort, parsed, step.expected, tokens)
    final = parsed.final if parsed else None
    return Score(
        effort,
        parsed is not None,
        final is not None and _answers(step.task, final, step.expected),
        tokens,
    )


def conversations_of(kind: Kind, count: int, seed: int) -> list[Conversation]:
    """Held-out conversations of one kind, ten tries a reply at most; efforts take turns."""
    rng = Random(f"held out {kind} {seed}")
    return [random_conversation(rng, "test", kind, EFFORTS[idx % 3]) for idx in range(count)]


def plain_counting(count: int, seed: int) -> list[Conversation]:
    """First turns only: letters in words that training never saw."""
    rng = Random(f"held out words {seed}")
    steps = [counting.question(rng, "test", follow_up=False) for _ in range(count)]
    return [_plain(step, idx) for idx, step in enumerate(steps)]


def plain_arithmetic(count: int, seed: int) -> list[Conversation]:
    """First turns only: sums and differences of two and three digits that training never saw."""
    rng = Random(f"held out sums {seed}")
    conversations: list[Conversation] = []
    for idx in range(count):
        plus = idx % 2 == 0
        digits = ((2, 2), (3, 3), (3, 2), (2, 3))[idx // 2 % 4]
        a, b = arithmetic.operands(rng, "test", plus, digits)
        conversations.append(_plain([arithmetic.ask(rng, a, b, plus)], idx))
    return conversations


def plain_calls(count: int, seed: int, everyday: bool) -> list[Conversation]:
    """Requests to tools with names that training never saw."""
    rng = Random(f"held out tools {seed} {everyday}")
    conversations: list[Conversation] = []
    for idx in range(count):
        effort = EFFORTS[idx % 3]
        tools = toolset(rng, "test", everyday=everyday)
        step = calling.request(rng, tools, rng.choice(tools))
        system = system_text(CHATGPT, "2024-06", "2026-03-01", effort, "", functions=True)
        conversations.append(
            Conversation(Header(effort, system, tools_section(tools)), tools, [step])
        )
    return conversations


def suites(count: int, seed: int) -> dict[str, list[Conversation]]:
    """Everything that is measured, by name."""
    mixed: tuple[Kind, ...] = (
        "counting",
        "arithmetic",
        "facts",
        "smalltalk",
        "fallback",
        "calling",
        "unfitting",
        "idle tools",
    )
    return {
        "letters in unseen words": plain_counting(count, seed),
        "unseen sums and differences": plain_arithmetic(count, seed),
        "calls to unseen everyday tools": plain_calls(count, seed, everyday=True),
        "calls to unseen tools of any words": plain_calls(count, seed, everyday=False),
        **{f"any: {kind}": conversations_of(kind, count // 2, seed) for kind in mixed},
    }


def report(scored: dict[str, list[Score]]) -> dict[str, Any]:
    """Shares and means by suite, and over all suites."""
    table: dict[str, Any] = {}
    for name, scores in scored.items():
        row: dict[str, Any] = {"count": len(scores), "right": _share([s.right for s in scores])}
        for field in ("valid_json", "right_tool", "right_arguments"):
            values = [value for s in scores if (value := getattr(s, field)) is not None]
            if values:
                row[field] = _share(values)
        row["well_formed"] = _share([s.well_formed for s in scores])
        row |= _lengths(scores)
        table[name] = row
    everything = [s for scores in scored.values() for s in scores]
    table["all"] = {
        "count": len(everything),
        "well_formed": _share([s.well_formed for s in everything]),
        **_lengths(everything),
    }
    return table


def measure(
    generate: Generate, count: int, seed: int = 0, only: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """Run the suites whose names begin with `only`; the table, and what went wrong."""
    found = {name: ones for name, ones in suites(count, seed).items() if name.startswith(only)}
    outputs = iter(
        generate([one.prompt_ids() for conversations in found.values() for one in conversations])
    )
    scored: dict[str, list[Score]] = {}
    wrong: list[str] = []
    for name, conversations in found.items():
        scored[name] = []
        for conversation, ids in zip(conversations, outputs, strict=False):
            result = score(conversation, ids)
            scored[name].append(result)
            if not result.right:
                wrong.append(_complaint(name, conversation, ids))
    return report(scored), wrong


def _complaint(name: str, conversation: Conversation, ids: Sequence[int]) -> str:
    said = decode(token_id for token_id in ids if not special.is_special(token_id))
    step = conversation.steps[-1]
    return f"{name} | {conversation.header.effort} | {step.prompt.text!r} | expected {step.expected!r} | {said!r}"


def _plain(steps: Any, idx: int) -> Conversation:  # noqa: ANN401
    effort = EFFORTS[idx % 3]
    system = system_text(CHATGPT, "2024-06", "2026-03-01", effort, "", functions=False)
    return Conversation(Header(effort, system, None), (), steps)


def _call_score(
    effort: Effort, parsed: Parsed | None, expected: tuple[str, dict[str, Any]], tokens: int
) -> Score:
    if parsed is None or parsed.call is None:
        return Score(effort, parsed is not None, False, tokens, False, False, False)
    name, text = parsed.call
    try:
        arguments = json.loads(text)
    except json.JSONDecodeError:
        return Score(effort, True, False, tokens, False, name == expected[0], False)
    right_tool, right_arguments = name == expected[0], arguments == expected[1]
    return Score(
        effort,
        True,
        right_tool and right_arguments,
        tokens,
        isinstance(arguments, dict),
        right_tool,
        right_arguments,
    )


def _answers(task: str, final: str, expected: Any) -> bool:  # noqa: ANN401  # whatever the task expects
    numbers = re.findall(r"-?\d+", final)
    if task in ("counting", "length"):
        return numbers[:1] == [str(expected)]
    if task in ("addition", "subtraction", "multiplication"):
        return numbers[-1:] == [str(expected)]
    if task == "result":
        return final == decode(expected)
    return final == expected


def _find(ids: Sequence[int], pattern: tuple[int, ...]) -> int:
    for start in range(len(ids) - len(pattern) + 1):
        if tuple(ids[start : start + len(pattern)]) == pattern:
            return start
    return -1


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / max(1, len(values)), 4)


def _lengths(scores: Sequence[Score]) -> dict[str, float]:
    lengths: defaultdict[str, list[int]] = defaultdict(list)
    for item in scores:
        if item.well_formed:
            lengths[item.effort].append(item.analysis_tokens)
    return {
        f"analysis_{effort}": round(sum(found) / len(found), 1)
        for effort in EFFORTS
        if (found := lengths[effort])
    }
