"""OpenAI's Agents SDK: its loop over both APIs."""

from __future__ import annotations

import json
import os
from typing import Any

os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "1"

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
)
from agents.models.openai_responses import OpenAIResponsesWSModel
from common import BASE_URL, KEY, MODEL, NEEDS_TOOL, QUESTION, case, main, weather
from openai import AsyncOpenAI
from pydantic import BaseModel


class Count(BaseModel):
    count: int


@function_tool
def get_weather(city: str) -> str:
    """Get the weather.

    Args:
        city: The city.
    """
    return json.dumps(weather(city))


MODELS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


def agent(api: str, name: str = MODEL, key: str = KEY, **more: Any) -> Agent:
    client = AsyncOpenAI(base_url=BASE_URL, api_key=key, max_retries=0, timeout=120)
    model = (MODELS | {"websocket": OpenAIResponsesWSModel})[api](name, client)
    settings = ModelSettings(temperature=0)
    return Agent(name="helper", model=model, model_settings=settings, **more)


def reasoning_of(result: Any) -> str:
    items = [item.raw_item for item in result.new_items if item.type == "reasoning_item"]
    return "".join(part.text for item in items for part in item.content or item.summary)


async def plain(api: str) -> dict[str, Any]:
    return {"text": (await Runner.run(agent(api), QUESTION)).final_output}


async def reasoning(api: str) -> dict[str, Any]:
    return {"text": reasoning_of(await Runner.run(agent(api), QUESTION))}


async def stream(api: str) -> dict[str, Any]:
    result = Runner.run_streamed(agent(api), QUESTION)
    pieces = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert "".join(pieces) == result.final_output
    return {"text": result.final_output, "pieces": len(pieces)}


async def tools(api: str) -> dict[str, Any]:
    return {"text": (await Runner.run(agent(api, tools=[get_weather]), NEEDS_TOOL)).final_output}


async def streamed_tools(api: str) -> dict[str, Any]:
    result = Runner.run_streamed(agent(api, tools=[get_weather]), NEEDS_TOOL)
    events = [event async for event in result.stream_events()]
    return {"text": result.final_output, "pieces": len(events)}


async def structured(api: str) -> dict[str, Any]:
    result = await Runner.run(agent(api, output_type=Count), QUESTION)
    return {"data": result.final_output.model_dump()}


async def unknown_model(api: str) -> dict[str, Any]:
    await Runner.run(agent(api, "gpt-5"), QUESTION)
    return {}


async def bad_key(api: str) -> dict[str, Any]:
    await Runner.run(agent(api, key="wrong"), QUESTION)
    return {}


case("chat/plain")(lambda: plain("chat"))
case("chat/reasoning")(lambda: reasoning("chat"))
case("chat/stream")(lambda: stream("chat"))
case("chat/tools")(lambda: tools("chat"))
case("chat/streamed tools")(lambda: streamed_tools("chat"))
case("chat/structured")(lambda: structured("chat"))
case("chat/unknown model")(lambda: unknown_model("chat"))
case("chat/bad key")(lambda: bad_key("chat"))
case("responses/plain")(lambda: plain("responses"))
case("responses/reasoning")(lambda: reasoning("responses"))
case("responses/stream")(lambda: stream("responses"))
case("responses/tools")(lambda: tools("responses"))
case("responses/streamed tools")(lambda: streamed_tools("responses"))
case("responses/structured")(lambda: structured("responses"))
case("responses/unknown model")(lambda: unknown_model("responses"))
case("responses/bad key")(lambda: bad_key("responses"))
case("websocket/stream")(lambda: stream("websocket"))
case("websocket/tools")(lambda: tools("websocket"))

if __name__ == "__main__":
    main("openai-agents", "openai")
