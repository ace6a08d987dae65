"""The Responses API without HTTP, and what clients make of its streams."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Sequence
from typing import Any, get_args

from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent

from ossia.server.responses.intake import Intake, take_in
from ossia.server.responses.live import Live
from ossia.server.responses.running import fold_of
from ossia.server.responses.schemas import ResponseRequest
from ossia.server.responses.sealing import Sealer
from ossia.server.responses.surroundings import Surroundings
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from support.scripted_engine import TOKENIZER
from support.scripted_service import ScriptedService

JsonObject = dict[str, Any]
KEY = bytes(32)

EVENT_TYPES = {
    get_args(cls.model_fields["type"].annotation)[0]: cls
    for cls in get_args(get_args(ResponseStreamEvent)[0])
}


def around(*scripts: str | list[int], reasoning="raw", store=None, **options: Any) -> Surroundings:
    """What requests are read with, over a scripted model."""
    images = options.pop("images", "refuse")
    web = options.pop("web", None)
    state = ServerState(
        settings=ServerSettings(reasoning=reasoning, images=images),
        service=ScriptedService(*scripts, **options),
        store=store,
        web=web,
    )
    return Surroundings(state, Sealer(KEY, "gpt-oss-test"))


def read(body: JsonObject, surroundings: Surroundings | None = None, history=()) -> Intake:
    """A body as it is understood."""
    request = ResponseRequest.model_validate(body)
    return asyncio.run(take_in(request, surroundings or around(), history))


def prompt_of(body: JsonObject, surroundings: Surroundings | None = None, history=()) -> str:
    """The prompt that a body becomes, control tokens by name, behind the system message."""
    surroundings = surroundings or around()
    messages = read(body, surroundings, history).question.messages
    ids = [i for message in messages[1:] for i in surroundings.renderer.render(message)]
    return TOKENIZER.decode(ids)


async def run(body: JsonObject, surroundings: Surroundings) -> tuple[list[JsonObject], Live]:
    """All events that answer a body, and what made them; ids and times are the same every time."""
    intake = await take_in(ResponseRequest.model_validate(body), surroundings)
    fold = fold_of(intake, surroundings)
    number = itertools.count(1)
    fold._make_id = lambda prefix: f"{prefix}_{next(number)}"
    fold._now = lambda: 1_750_000_000.0
    fold._response.update(id="resp_0", created_at=1_750_000_000)
    fold.begin()
    live = Live(await surroundings.service.answer(intake.question), fold)
    events = [copy.deepcopy(event) async for batch in live.batches() for event in batch]
    await live.close()
    return events, live


def answer(body: JsonObject, surroundings: Surroundings) -> tuple[list[JsonObject], JsonObject]:
    """The events, each checked, and the response as it is without streaming."""
    events, live = asyncio.run(run({"input": "Hi", **body}, surroundings))
    check_stream(events)
    return events, live.fold.response


def check_stream(events: Sequence[JsonObject]) -> None:
    """Everything that a strict client asks of a stream."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    for event in events:
        known = EVENT_TYPES[event["type"]].model_validate(event, strict=True)
        state.handle_event(known)
        if "response" in event:
            Response.model_validate(event["response"], strict=True)
    assert events[0]["type"] == "response.created"
    waited = events[0]["response"]["background"]
    assert events[1]["type"] == ("response.queued" if waited else "response.in_progress")
    assert folded(events) == events[-1]["response"]["output"]


def folded(events: Sequence[JsonObject]) -> list[JsonObject]:
    """The output that a client puts together from deltas, checked against every `done`."""
    items: list[JsonObject] = []
    for event in events:
        kind = event["type"]
        if kind == "response.output_item.added":
            assert event["output_index"] == len(items)
            items.append(copy.deepcopy(event["item"]))
        elif "item_id" in event:
            item = items[event["output_index"]]
            assert item["id"] == event["item_id"]
            assert event["output_index"] == len(items) - 1
            _apply(event, item)
        elif kind == "response.output_item.done":
            item = items[event["output_index"]]
            final = event["item"]
            item["status"] = final["status"]
            if item["type"] == "web_search_call":
                assert item["action"]["type"] == final["action"]["type"]
                item["action"] = final["action"]
            if "encrypted_content" in final:
                item["encrypted_content"] = final["encrypted_content"]
            assert item == final
    return items


def _apply(event: JsonObject, item: JsonObject) -> None:
    kind = event["type"].removeprefix("response.")
    name, _, what = kind.rpartition(".")
    if name == "web_search_call":
        assert item["type"] == name
        return
    if name == "output_text.annotation":
        part = item["content"][event["content_index"]]
        assert event["annotation_index"] == len(part["annotations"])
        cited = event["annotation"]
        assert 0 <= cited["start_index"] < cited["end_index"] <= len(part["text"])
        part["annotations"].append(copy.deepcopy(cited))
        return
    if name in ("content_part", "reasoning_summary_part"):
        parts = item["content" if name == "content_part" else "summary"]
        index = event["content_index" if name == "content_part" else "summary_index"]
        if what == "added":
            assert index == len(parts)
            parts.append(copy.deepcopy(event["part"]))
        assert event["part"] == parts[index]
        return
    place, field = _PLACES[name]
    holder = item if place is None else item[place][event[f"{place}_index"]]
    if what == "delta":
        assert event["delta"]
        holder[field] += event["delta"]
        if "logprobs" in event:
            holder["logprobs"] += event["logprobs"]
    else:
        assert what == "done"
        assert event[field] == holder[field]
        assert event.get("logprobs") == holder.get("logprobs")


_PLACES = {
    "output_text": ("content", "text"),
    "reasoning_text": ("content", "text"),
    "reasoning_summary_text": ("summary", "text"),
    "function_call_arguments": (None, "arguments"),
    "custom_tool_call_input": (None, "input"),
}
"""Where the text of an event stands in its item: in which list, and in which field."""


def without_ids(value: Any) -> Any:
    """JSON with ids numbered in the order in which they come, and without times and seals."""
    numbers: dict[str, str] = {}

    def walk(value: Any, name: str | None) -> Any:
        if isinstance(value, dict):
            return {key: walk(one, key) for key, one in value.items()}
        if isinstance(value, list):
            return [walk(one, None) for one in value]
        if name in ("id", "call_id") and isinstance(value, str):
            return numbers.setdefault(value, f"{value.partition('_')[0]}_{len(numbers)}")
        if name in ("created_at", "completed_at"):
            return value is not None
        return "sealed" if name == "encrypted_content" else value

    return walk(value, None)
