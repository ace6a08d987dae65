"""Pydantic AI: agents over both APIs."""

from __future__ import annotations

from typing import Any

from common import BASE_URL, KEY, MODEL, NEEDS_TOOL, QUESTION, case, main, weather
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.messages import ThinkingPart
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

MODELS = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}


class Count(BaseModel):
    count: int


def agent(api: str, name: str = MODEL, key: str = KEY, **more: Any) -> Agent:
    model = MODELS[api](name, provider=OpenAIProvider(base_url=BASE_URL, api_key=key))
    # It leaves out the temperature for models that reason.
    return Agent(model, model_settings={"extra_body": {"temperature": 0}}, **more)


def get_weather(city: str) -> dict[str, Any]:
    """Get the weather.

    Args:
        city: The city.
    """
    return weather(city)


async def plain(api: str) -> dict[str, Any]:
    return {"text": (await agent(api).run(QUESTION)).output}


async def reasoning(api: str) -> dict[str, Any]:
    parts = (await agent(api).run(QUESTION)).response.parts
    raw = [
        part.content or "".join((part.provider_details or {}).get("raw_content") or [])
        for part in parts
        if isinstance(part, ThinkingPart)
    ]
    return {"text": "".join(raw)}


async def stream(api: str) -> dict[str, Any]:
    async with agent(api).run_stream(QUESTION) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    return {"text": "".join(pieces), "pieces": len(pieces)}


async def tools(api: str) -> dict[str, Any]:
    return {"text": (await agent(api, tools=[get_weather]).run(NEEDS_TOOL)).output}


async def streamed_tools(api: str) -> dict[str, Any]:
    async with agent(api, tools=[get_weather]).run_stream(NEEDS_TOOL) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    return {"text": "".join(pieces), "pieces": len(pieces)}


async def structured(api: str) -> dict[str, Any]:
    """By a tool that must be called."""
    return {"data": (await agent(api, output_type=Count).run(QUESTION)).output.model_dump()}


async def structured_natively(api: str) -> dict[str, Any]:
    """By the API's own format."""
    output = (await agent(api, output_type=NativeOutput(Count)).run(QUESTION)).output
    return {"data": output.model_dump()}


async def unknown_model(api: str) -> dict[str, Any]:
    await agent(api, "gpt-5").run(QUESTION)
    return {}


async def bad_key(api: str) -> dict[str, Any]:
    await agent(api, key="wrong").run(QUESTION)
    return {}


case("chat/plain")(lambda: plain("chat"))
case("chat/reasoning")(lambda: reasoning("chat"))
case("chat/stream")(lambda: stream("chat"))
case("chat/tools")(lambda: tools("chat"))
case("chat/streamed tools")(lambda: streamed_tools("chat"))
case("chat/structured by a tool")(lambda: structured("chat"))
case("chat/structured")(lambda: structured_natively("chat"))
case("chat/unknown model")(lambda: unknown_model("chat"))
case("chat/bad key")(lambda: bad_key("chat"))
case("responses/plain")(lambda: plain("responses"))
case("responses/reasoning")(lambda: reasoning("responses"))
case("responses/stream")(lambda: stream("responses"))
case("responses/tools")(lambda: tools("responses"))
case("responses/streamed tools")(lambda: streamed_tools("responses"))
case("responses/structured by a tool")(lambda: structured("responses"))
case("responses/structured")(lambda: structured_natively("responses"))
case("responses/unknown model")(lambda: unknown_model("responses"))
case("responses/bad key")(lambda: bad_key("responses"))

if __name__ == "__main__":
    main("pydantic-ai-slim", "openai")
