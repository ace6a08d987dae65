"""Random chats as the Chat Completions API has them, and transformers to render them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import strategies as st

from support.harmony_strategies import any_schemas, identifiers, plain_lines, texts

TODAY = datetime.datetime(2025, 6, 28, tzinfo=datetime.UTC)

Chat = dict[str, Any]


def transformers_render(source: str, chat: Chat) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    arguments = {name: value for name, value in chat.items() if name != "messages"}
    rendered, _ = render_jinja_template([chat["messages"]], chat_template=source, **arguments)
    return rendered[0]


@contextmanager
def fixed_date() -> Iterator[None]:
    """transformers asks the clock itself."""
    from transformers.utils import chat_template_utils

    class FixedDatetime(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return TODAY

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat_template_utils, "datetime", FixedDatetime)
        yield


contents = st.one_of(
    texts,
    st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), max_size=2),
)


@st.composite
def _exchanges(draw: st.DrawFn) -> list[Chat]:
    """A user's message, perhaps tool calls with their results in any order, and an answer."""
    names = draw(st.lists(identifiers, max_size=3))
    calls = [
        {
            "id": f"call_{position}",
            "type": "function",
            "function": {
                "name": name,
                "arguments": draw(
                    st.one_of(texts, st.dictionaries(identifiers, st.integers(), max_size=2))
                ),
            },
        }
        for position, name in enumerate(names)
    ]
    reasoning = st.fixed_dictionaries(
        {},
        optional={
            draw(st.sampled_from(["thinking", "reasoning", "reasoning_content"])): st.one_of(
                st.none(), texts
            )
        },
    )
    messages: list[Chat] = [{"role": "user", "content": draw(contents)}]
    if draw(st.booleans()):
        messages[0]["name"] = draw(identifiers)
    if calls:
        content = draw(st.one_of(st.none(), contents))
        messages.append(
            {"role": "assistant", "content": content, "tool_calls": calls, **draw(reasoning)}
        )
        answered = draw(st.permutations(calls))
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": draw(contents)}
            for call in answered
        ]
    if draw(st.booleans()):
        messages.append({"role": "assistant", "content": draw(contents), **draw(reasoning)})
    if draw(st.integers(0, 3)) == 0:
        messages.append({"role": draw(st.sampled_from(["system", "developer"])), "content": "x"})
    return messages


@st.composite
def _tools(draw: st.DrawFn) -> Chat:
    strings = st.one_of(plain_lines, texts, st.text("ab \n\r\x0b\x85\u2028\u2029\\\"'", max_size=8))
    schemas = any_schemas(strings, st.integers(-99, 99))
    function = {
        "name": draw(identifiers),
        "description": draw(texts),
        "parameters": draw(schemas.filter(lambda schema: isinstance(schema, dict))),
    }
    if draw(st.booleans()):
        return {"type": "function", **function}
    return {"type": "function", "function": function}


@st.composite
def chats(draw: st.DrawFn) -> Chat:
    opening = draw(
        st.lists(
            st.fixed_dictionaries(
                {"role": st.sampled_from(["system", "developer"]), "content": contents}
            ),
            max_size=1,
        )
    )
    exchanges = draw(st.lists(_exchanges(), max_size=3))
    settings_ = draw(
        st.fixed_dictionaries(
            {"add_generation_prompt": st.booleans()},
            optional={
                "tools": st.lists(_tools(), max_size=2),
                "builtin_tools": st.lists(st.sampled_from(["browser", "python"]), unique=True),
                "model_identity": texts,
                "reasoning_effort": st.sampled_from(["low", "medium", "high"]),
            },
        )
    )
    return {"messages": [*opening, *(each for turn in exchanges for each in turn)], **settings_}


def for_the_published_template(chat: Chat) -> Chat:
    """What the published template can take: texts, one call a message, tools in the older form."""
    messages: list[Chat] = []
    for message in chat["messages"] or [{"role": "user", "content": "Hello"}]:
        content = message.get("content")
        if not isinstance(content, str):
            content = "".join(part["text"] for part in content or [])
        # It takes these for a mistake of its caller.
        changed = {**message, "content": content.replace("<|channel|>", "<|call|>")}
        if isinstance(thinking := changed.get("thinking"), str):
            changed["thinking"] = thinking.replace("<|channel|>", "<|call|>")
        if "tool_calls" in message:
            reasoning = ("thinking", "reasoning", "reasoning_content")
            changed = {name: value for name, value in changed.items() if name not in reasoning}
        messages.append(changed)
    tools = [
        tool if "function" in tool else {"type": "function", "function": tool}
        for tool in chat.get("tools", [])
    ]
    return {**chat, "messages": messages, "tools": tools}
