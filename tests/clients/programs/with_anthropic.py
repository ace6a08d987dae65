"""Anthropic's package, which speaks to /v1/messages."""

from __future__ import annotations

import json
from typing import Any

from anthropic import Anthropic
from common import KEY, MODEL, NEEDS_TOOL, QUESTION, URL, WEATHER_SCHEMA, call_tool, case, main

client = Anthropic(base_url=URL, api_key=KEY, max_retries=0, timeout=120)
TOOL = {
    "name": "get_weather",
    "description": "Get the weather.",
    "input_schema": WEATHER_SCHEMA,
}


def asked(text: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    # The package knows no temperature any more, but sends what it is given.
    body = {"extra_body": {"temperature": 0}}
    return {"model": MODEL, "messages": messages, "max_tokens": 1024, **body} | more


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@case("messages/plain")
def _() -> dict[str, Any]:
    message = client.messages.create(**asked(QUESTION))
    counted = client.messages.count_tokens(model=MODEL, messages=asked(QUESTION)["messages"])
    usage = message.usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens
    return {"text": text_of(message)}


@case("messages/stream, reasoning")
def _() -> dict[str, Any]:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    pieces = []
    request = asked(QUESTION, thinking=thinking, max_tokens=2048)
    with client.messages.stream(**request) as stream:
        pieces += [event.type for event in stream if event.type in ("text", "thinking")]
        message = stream.get_final_message()
    (thought,) = (block.thinking for block in message.content if block.type == "thinking")
    assert thought.startswith("I count r"), thought
    assert {"text", "thinking"} == set(pieces)
    return {"text": text_of(message), "pieces": len(pieces)}


@case("messages/tools")
def _() -> dict[str, Any]:
    request = asked(NEEDS_TOOL, tools=[TOOL])
    while True:
        message = client.messages.create(**request)
        if message.stop_reason != "tool_use":
            return {"text": text_of(message)}
        results = [
            {
                "type": "tool_result",
                "tool_use_id": block.id,
                "content": call_tool(block.name, json.dumps(block.input)),
            }
            for block in message.content
            if block.type == "tool_use"
        ]
        request["messages"] += [
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": results},
        ]


@case("messages/streamed tools")
def _() -> dict[str, Any]:
    with client.messages.stream(**asked(NEEDS_TOOL, tools=[TOOL])) as stream:
        message = stream.get_final_message()
    (block,) = (block for block in message.content if block.type == "tool_use")
    call_tool(block.name, json.dumps(block.input))
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "it is snowing"}
    messages = [
        {"role": "user", "content": NEEDS_TOOL},
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    with client.messages.stream(**asked("", messages=messages, tools=[TOOL])) as stream:
        pieces = list(stream.text_stream)
    assert "snowing" in "".join(pieces)
    assert len(pieces) >= 5
    return {"checked": True}


@case("messages/unknown model")
def _() -> dict[str, Any]:
    client.messages.create(**asked(QUESTION, model="claude"))
    return {}


@case("messages/bad key")
def _() -> dict[str, Any]:
    client.with_options(api_key="wrong").messages.create(**asked(QUESTION))
    return {}


if __name__ == "__main__":
    main("anthropic", side_by_side=4)
