"""The command-line tool llm, and its library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import llm
from common import BASE_URL, COUNT_SCHEMA, KEY, MODEL, NEEDS_TOOL, QUESTION, case, main, weather

_folder = tempfile.TemporaryDirectory()
os.environ["LLM_USER_PATH"] = _folder.name
Path(_folder.name, "extra-openai-models.yaml").write_text(
    f"""\
- model_id: chat
  model_name: {MODEL}
  api_base: {BASE_URL}
  api_key_name: ossia
  supports_tools: true
  supports_schema: true
- model_id: responses
  model_name: {MODEL}
  api_base: {BASE_URL}
  api_key_name: ossia
  supports_tools: true
  supports_schema: true
  responses: true
- model_id: nothing
  model_name: gpt-5
  api_base: {BASE_URL}
  api_key_name: ossia
""",
    encoding="utf-8",
)
Path(_folder.name, "keys.json").write_text(json.dumps({"ossia": KEY}), encoding="utf-8")


def get_weather(city: str) -> str:
    """Get the weather."""
    return json.dumps(weather(city))


def plain(model: str) -> dict[str, Any]:
    return {"text": llm.get_model(model).prompt(QUESTION, temperature=0, stream=False).text()}


def stream(model: str) -> dict[str, Any]:
    pieces = [piece for piece in llm.get_model(model).prompt(QUESTION, temperature=0) if piece]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(model: str, stream: bool) -> dict[str, Any]:
    chain = llm.get_model(model).chain(
        NEEDS_TOOL, tools=[get_weather], options={"temperature": 0}, stream=stream
    )
    return {"text": chain.text()}


def structured(model: str) -> dict[str, Any]:
    response = llm.get_model(model).prompt(
        QUESTION, schema=COUNT_SCHEMA, temperature=0, stream=False
    )
    return {"data": json.loads(response.text())}


def command(model: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "llm", "-m", model, "-o", "temperature", "0", QUESTION],
        capture_output=True,
        text=True,
        check=True,
    )
    return {"text": done.stdout.strip()}


def unknown_model() -> dict[str, Any]:
    llm.get_model("nothing").prompt(QUESTION, stream=False).text()
    return {}


def bad_key(model: str) -> dict[str, Any]:
    llm.get_model(model).prompt(QUESTION, key="wrong", stream=False).text()
    return {}


case("chat/plain")(lambda: plain("chat"))
case("chat/stream")(lambda: stream("chat"))
case("chat/tools")(lambda: tools("chat", stream=False))
case("chat/streamed tools")(lambda: tools("chat", stream=True))
case("chat/structured")(lambda: structured("chat"))
case("chat/command")(lambda: command("chat"))
case("chat/unknown model")(unknown_model)
case("chat/bad key")(lambda: bad_key("chat"))
case("responses/plain")(lambda: plain("responses"))
case("responses/stream")(lambda: stream("responses"))
case("responses/tools")(lambda: tools("responses", stream=False))
case("responses/streamed tools")(lambda: tools("responses", stream=True))
case("responses/structured")(lambda: structured("responses"))
case("responses/command")(lambda: command("responses"))
case("responses/bad key")(lambda: bad_key("responses"))

if __name__ == "__main__":
    main("llm", "openai")
