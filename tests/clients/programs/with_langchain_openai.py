"""LangChain's ChatOpenAI over both APIs."""

from __future__ import annotations

import json
from typing import Any

from common import BASE_URL, KEY, MODEL, NEEDS_TOOL, QUESTION, call_tool, case, main, weather
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Count(BaseModel):
    """What was counted."""

    count: int


@tool
def get_weather(city: str) -> dict[str, Any]:
    """Get the weather.

    Args:
        city: The city.
    """
    return weather(city)


def chat(api: str, name: str = MODEL, key: str = KEY, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=name,
        base_url=BASE_URL,
        api_key=key,
        temperature=0,
        max_retries=0,
        use_responses_api=api == "responses",
        **more,
    )


def plain(api: str) -> dict[str, Any]:
    message = chat(api).invoke(QUESTION)
    assert message.usage_metadata["total_tokens"] > 0
    return {"text": message.text}


def stream(api: str) -> dict[str, Any]:
    pieces = [chunk.text for chunk in chat(api).stream(QUESTION) if chunk.text]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(api: str, streamed: bool = False) -> dict[str, Any]:
    bound = chat(api).bind_tools([get_weather])
    messages: list[Any] = [HumanMessage(NEEDS_TOOL)]
    chunks = 0
    while True:
        if streamed:
            whole = None
            for chunk in bound.stream(messages):
                whole = chunk if whole is None else whole + chunk
                chunks += 1
            message = whole
        else:
            message = bound.invoke(messages)
        messages.append(message)
        if not message.tool_calls:
            return {"text": message.text} | ({"pieces": chunks} if streamed else {})
        for call in message.tool_calls:
            output = call_tool(call["name"], json.dumps(call["args"]))
            messages.append(ToolMessage(output, tool_call_id=call["id"]))


def structured(api: str, method: str) -> dict[str, Any]:
    found = chat(api).with_structured_output(Count, method=method).invoke(QUESTION)
    return {"data": found.model_dump()}


def reasoning() -> dict[str, Any]:
    """It shows only what comes as a summary."""
    message = chat("responses", reasoning={"summary": "auto"}).invoke(QUESTION)
    blocks = [block for block in message.content_blocks if block["type"] == "reasoning"]
    return {"text": "".join(block.get("reasoning", "") for block in blocks)}


def unknown_model(api: str) -> dict[str, Any]:
    chat(api, "gpt-5").invoke(QUESTION)
    return {}


def bad_key(api: str) -> dict[str, Any]:
    chat(api, key="wrong").invoke(QUESTION)
    return {}


case("chat/plain")(lambda: plain("chat"))
case("chat/stream")(lambda: stream("chat"))
case("chat/tools")(lambda: tools("chat"))
case("chat/streamed tools")(lambda: tools("chat", streamed=True))
case("chat/structured")(lambda: structured("chat", "json_schema"))
case("chat/structured by a tool")(lambda: structured("chat", "function_calling"))
case("chat/unknown model")(lambda: unknown_model("chat"))
case("chat/bad key")(lambda: bad_key("chat"))
case("responses/plain")(lambda: plain("responses"))
case("responses/reasoning")(reasoning)
case("responses/stream")(lambda: stream("responses"))
case("responses/tools")(lambda: tools("responses"))
case("responses/streamed tools")(lambda: tools("responses", streamed=True))
case("responses/structured")(lambda: structured("responses", "json_schema"))
case("responses/structured by a tool")(lambda: structured("responses", "function_calling"))
case("responses/unknown model")(lambda: unknown_model("responses"))
case("responses/bad key")(lambda: bad_key("responses"))

if __name__ == "__main__":
    main("langchain-openai", "langchain-core", "openai")
