"""Instructor: answers as objects, in each of its ways to ask for them."""

from __future__ import annotations

from typing import Any

import instructor
from common import BASE_URL, KEY, MODEL, QUESTION, case, main
from openai import OpenAI
from pydantic import BaseModel, ConfigDict


class Count(BaseModel):
    # Instructor sends schemas as they are, and a tiny model does not know when to end what is open.
    model_config = ConfigDict(extra="forbid")
    count: int


def counter(mode: instructor.Mode, key: str = KEY) -> instructor.Instructor:
    client = OpenAI(base_url=BASE_URL, api_key=key, max_retries=0, timeout=120)
    return instructor.from_openai(client, mode=mode)


def asked(name: str = MODEL) -> dict[str, Any]:
    messages = [{"role": "user", "content": QUESTION}]
    return {
        "model": name,
        "messages": messages,
        "temperature": 0,
        "response_model": Count,
        "max_retries": 0,
    }


def structured(mode: instructor.Mode) -> dict[str, Any]:
    return {"data": counter(mode).create(**asked()).model_dump()}


def streamed(mode: instructor.Mode) -> dict[str, Any]:
    parts = list(counter(mode).create_partial(**asked()))
    return {"data": parts[-1].model_dump(), "pieces": len(parts)}


def unknown_model() -> dict[str, Any]:
    counter(instructor.Mode.TOOLS).create(**asked("gpt-5"))
    return {}


def bad_key() -> dict[str, Any]:
    counter(instructor.Mode.TOOLS, "wrong").create(**asked())
    return {}


case("chat/structured by a tool")(lambda: structured(instructor.Mode.TOOLS))
case("chat/structured by a strict tool")(lambda: structured(instructor.Mode.TOOLS_STRICT))
case("chat/structured")(lambda: structured(instructor.Mode.JSON_SCHEMA))
case("chat/streamed structured")(lambda: streamed(instructor.Mode.TOOLS))
case("chat/unknown model")(unknown_model)
case("chat/bad key")(bad_key)
case("responses/structured by a tool")(lambda: structured(instructor.Mode.RESPONSES_TOOLS))

if __name__ == "__main__":
    main("instructor", "openai")
