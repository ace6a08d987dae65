"""LiteLLM as a client."""

from __future__ import annotations

import json
import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # instead of fetching one

import litellm
from common import BASE_URL, KEY, MODEL, NEEDS_TOOL, QUESTION, WEATHER_SCHEMA, call_tool, case, main
from pydantic import BaseModel

litellm.telemetry = False
litellm.suppress_debug_info = True
TOOL = {
    "name": "get_weather",
    "description": "Get the weather.",
    "parameters": WEATHER_SCHEMA,
}


class Count(BaseModel):
    count: int


def chat(provider: str = "openai", name: str = MODEL, **more: Any) -> dict[str, Any]:
    return {
        "model": f"{provider}/{name}",
        "api_base": BASE_URL,
        "api_key": KEY,
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "num_retries": 0,
    } | more


def asked(text: Any, **more: Any) -> dict[str, Any]:
    request = chat(**more)
    del request["messages"], request["num_retries"]
    return request | {"input": text}


@case("chat/plain")
def _() -> dict[str, Any]:
    return {"text": litellm.completion(**chat()).choices[0].message.content}


@case("chat/reasoning")
def _() -> dict[str, Any]:
    return {"text": litellm.completion(**chat()).choices[0].message.reasoning_content}


@case("chat/stream")
def _() -> dict[str, Any]:
    return _streamed(chat(stream=True))


@case("chat/stream, as from vLLM")
def _() -> dict[str, Any]:
    return _streamed(chat("hosted_vllm", stream=True))


def _streamed(request: dict[str, Any]) -> dict[str, Any]:
    deltas = [chunk.choices[0].delta for chunk in litellm.completion(**request)]
    reasoning = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert reasoning.startswith("I count r"), reasoning
    pieces = [delta.content for delta in deltas if delta.content]
    return {"text": "".join(pieces), "pieces": len(pieces)}


@case("chat/tools")
def _() -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": NEEDS_TOOL}]
    request = chat(messages=messages, tools=[{"type": "function", "function": TOOL}])
    while True:
        message = litellm.completion(**request).choices[0].message
        if not message.tool_calls:
            return {"text": message.content}
        messages.append(message)
        for call in message.tool_calls:
            output = call_tool(call.function.name, call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": output})


@case("chat/structured")
def _() -> dict[str, Any]:
    completion = litellm.completion(**chat(response_format=Count))
    return {"data": json.loads(completion.choices[0].message.content)}


@case("chat/unknown model")
def _() -> dict[str, Any]:
    litellm.completion(**chat(name="nothing"))
    return {}


@case("chat/bad key")
def _() -> dict[str, Any]:
    litellm.completion(**chat(api_key="wrong"))
    return {}


@case("responses/plain")
def _() -> dict[str, Any]:
    return {"text": litellm.responses(**asked(QUESTION)).output_text}


@case("responses/stream")
def _() -> dict[str, Any]:
    events = list(litellm.responses(**asked(QUESTION, stream=True)))
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    return {"text": "".join(pieces), "pieces": len(pieces)}


@case("responses/tools")
def _() -> dict[str, Any]:
    tools = {"tools": [{"type": "function", **TOOL}]}
    items: list[Any] = [{"role": "user", "content": NEEDS_TOOL}]
    response = litellm.responses(**asked(items, **tools))
    for item in response.output:
        items.append(item.model_dump(exclude_none=True))
        if item.type == "function_call":
            output = call_tool(item.name, item.arguments)
            result = {"type": "function_call_output", "call_id": item.call_id, "output": output}
    return {"text": litellm.responses(**asked([*items, result], **tools)).output_text}


@case("responses/unknown model")
def _() -> dict[str, Any]:
    litellm.responses(**asked(QUESTION, name="nothing"))
    return {}


if __name__ == "__main__":
    main("litellm", "openai")
