"""POST /v1/responses/compact: a long history becomes its users' messages and one sealed summary.

The model itself writes the summary. It comes back as a `compaction` item that only this server can
open, and a request that holds it reads it as something the assistant said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ossia.api.events import Done, Ending, TextDelta, Usage
from ossia.api.question import Question
from ossia.harmony import Message, ReasoningEffort, Role
from ossia.server.api_error import SERVER_ERROR, ApiError, prompt_in
from ossia.server.responses import ids
from ossia.server.responses.continuation import history_of
from ossia.server.responses.fold import TIMED_OUT
from ossia.server.responses.intake import given_items, read_items, shortened
from ossia.server.responses.objects import JsonObject, stored_item, usage_object
from ossia.server.responses.opening import with_opening
from ossia.server.responses.schemas import CompactRequest
from ossia.server.responses.sealing import COMPACTION
from ossia.server.responses.surroundings import Surroundings
from ossia.types import SamplingParams

_MAX_SUMMARY: Final = 4096  # tokens
_ASK: Final = (
    "Write a summary of our conversation, from which you will go on with it once you no longer "
    "have it before you. Keep what I asked for and what was decided, results and facts with their "
    "exact names, numbers and paths, what tools returned that still matters, and what is left to "
    "do. Write nothing but the summary."
)


@dataclass(frozen=True, slots=True)
class Compacted:
    """A history made short.

    Args:
        response: The object that clients get.
        notes: What the model could not read before it wrote the summary.
    """

    response: JsonObject
    notes: tuple[str, ...]


async def compact(request: CompactRequest, around: Surroundings) -> Compacted:
    """Make a history short.

    Args:
        request: Says which one, as a request for a response does.
        around: What it is read with.

    Raises:
        ApiError: it cannot be read, does not fit the model, or the model wrote nothing or not to
            the end in time.
    """
    history = await history_of(request, around.store)
    given = await given_items(request, around, history)
    transcript = read_items(history, given, around)
    messages = with_opening(
        [*transcript.finish(), Message.from_role_and_content(Role.USER, _ASK)],
        effort=ReasoningEffort.LOW,
        instructions=request.instructions,
        groups={},
        sections=(),
        today=datetime.now().astimezone().date(),
    )
    limit = min(_MAX_SUMMARY, max(1, around.service.max_context // 4))
    read = await asyncio.to_thread(shortened, messages, around, limit)
    summary, usage = await _summary(read, around, limit, request.cache_salt or "")
    items = [*history, *(stored_item(item, f"input[{i}]") for i, item in enumerate(given))]
    compaction = {
        "id": ids.new_id(ids.COMPACTION),
        "type": "compaction",
        "encrypted_content": around.sealer.seal(summary, COMPACTION),
    }
    response = {
        "id": ids.new_id(ids.RESPONSE),
        "object": "response.compaction",
        "created_at": int(time.time()),
        "output": [*await asyncio.to_thread(_kept, items, around), compaction],
        "usage": usage_object(usage),
    }
    left_out = len(messages) - len(read)
    notes = (f"the oldest {left_out} messages",) if left_out else ()
    return Compacted(response, (*transcript.notes, *notes))


async def _summary(
    messages: Sequence[Message], around: Surroundings, limit: int, cache_salt: str
) -> tuple[str, Usage]:
    question = Question(
        messages,
        sampling=SamplingParams(max_tokens=limit, temperature=0.0),
        final_only=True,
        deadline=time.monotonic() + around.settings.request_timeout,
        cache_salt=cache_salt,
    )
    pieces: list[str] = []
    usage, ending = Usage(), Ending.ABORT
    with prompt_in("input"):
        answer = await around.service.answer(question)
    async with aclosing(answer) as events:
        async for event in events:
            if isinstance(event, TextDelta) and not event.preamble:
                pieces.append(event.text)
            elif isinstance(event, Done):
                usage, ending = event.usage, event.finish_reason
    if ending in (Ending.DEADLINE, Ending.ABORT):
        # What is there of a summary would lose the rest of the history for good.
        raise ApiError(
            "the summary was not complete when the request's time was up; compact less at once",
            status=TIMED_OUT,
            kind=SERVER_ERROR,
            code=SERVER_ERROR,
        )
    text = "".join(pieces).strip()
    if not text:
        raise ApiError(
            "the model wrote no summary of this conversation; ask again, or go on with all of it",
            status=422,
            param="input",
            code="no_summary",
        )
    return text, usage


def _kept(items: Sequence[JsonObject], around: Surroundings) -> list[JsonObject]:
    """The messages that stay: instructions, and of users' the newest that fit a quarter."""
    room = around.service.max_context // 4
    kept: list[JsonObject] = []
    for item in reversed(items):
        if item["type"] != "message" or item["role"] == "assistant":
            continue
        if item["role"] == "user":
            room -= _num_tokens(item, around)
            if room < 0:
                continue
        kept.append(item)
    return kept[::-1]


def _num_tokens(item: JsonObject, around: Surroundings) -> int:
    texts = [part["text"] for part in item["content"] if isinstance(part.get("text"), str)]
    return sum(len(around.service.tokenizer.encode(text)) for text in texts)
