"""Intake: a request and what went before it, as a question for the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from ossia.api.question import Question
from ossia.api.turn_masks import FINAL
from ossia.errors import HarmonyError, RequestError
from ossia.harmony import Message
from ossia.server.api_error import ApiError
from ossia.server.effort import effective_effort, may_reason
from ossia.server.model_names import require_model
from ossia.server.responses.objects import JsonObject, response_object, stored_item
from ossia.server.responses.opening import with_opening
from ossia.server.responses.references import resolved
from ossia.server.responses.sampling import (
    asked_effort,
    sampling_of,
    stop_strings,
)
from ossia.server.responses.schemas import PromptRequest, ResponseRequest
from ossia.server.responses.surroundings import Surroundings
from ossia.server.responses.text_format import answer_grammar, developer_sections
from ossia.server.responses.tool_choice import ToolChoice, read_tool_choice
from ossia.server.responses.tools import ToolTable, read_tools
from ossia.server.responses.transcript import Transcript
from ossia.server.responses.truncation import fitted
from ossia.server.responses.web_search import browser_tools
from ossia.tools.browser.browser import Browser
from ossia.tools.browser.page import Page

_REFUSED: Final = {
    "prompt": "this server keeps no prompt templates; put the text into 'instructions' and 'input'",
    "moderation": "this server moderates nothing; leave it out",
    "context_management": "this server does not compact by itself; leave it out, or use "
    "'truncation': 'auto'",
    "response_format": "it is for chats; here the same stands in 'text.format'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the model reads.

    Args:
        messages: From the system message to what is to be answered.
        input_items: What the request added, with ids.
        table: All tools of the request.
        choice: Which of them may and must be called.
        notes: What was left out.
        pages: What the browser has shown in the conversation so far.
    """

    messages: list[Message]
    input_items: list[JsonObject]
    table: ToolTable
    choice: ToolChoice
    notes: tuple[str, ...]
    pages: Sequence[Page] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """A request that has been understood.

    Args:
        request: As it came.
        history: The items before its input, oldest first.
        prompt: What the model reads.
        question: The same, and how to answer.
        response: The response object before anything is answered; it has no id yet.
        browser: What the model searches the web with; None if it does not.
    """

    request: ResponseRequest
    history: Sequence[JsonObject]
    prompt: Prompt
    question: Question
    response: JsonObject
    browser: Browser | None = None


async def take_in(
    request: ResponseRequest, around: Surroundings, history: Sequence[JsonObject] = ()
) -> Intake:
    """Understand a request.

    Args:
        request: Its body.
        around: What it is read with.
        history: Items that come before its input, oldest first.

    Raises:
        ApiError: it cannot be met as asked; `param` names the field.
    """
    for name, why in _REFUSED.items():
        if getattr(request, name) is not None:
            raise ApiError(f"Invalid value for '{name}': {why}.", param=name, code="unsupported")
    prompt = await read_prompt(request, around, history, max_output=request.output_limit)
    deadline = time.monotonic() + around.settings.request_timeout
    search = prompt.choice.table.web_search
    browser = None
    if search is not None:
        browser = search.browser(around.service.tokenizer, deadline=deadline, shown=prompt.pages)
    try:
        question = _question(request, prompt, deadline, browser)
    except RequestError as error:
        raise ApiError.of(error) from None
    response = response_object(
        request,
        model=around.service.model,
        tools=prompt.table.echo,
        choice=prompt.choice,
        store=request.store is not False and around.store is not None,
    )
    if request.background and not response["store"]:
        raise ApiError(
            "Invalid value for 'background': a response in the background must be stored; set "
            "'store' to true, on a server that keeps responses.",
            param="background",
        )
    return Intake(
        request=request,
        history=history,
        prompt=prompt,
        question=question,
        response=response,
        browser=browser,
    )


async def read_prompt(
    request: PromptRequest,
    around: Surroundings,
    history: Sequence[JsonObject] = (),
    *,
    max_output: int | None = None,
) -> Prompt:
    """What the model is to read.

    Args:
        request: The body, or what it has in common with others.
        around: What it is read with.
        history: Items that come before its input, oldest first.
        max_output: How long the answer may become.

    Raises:
        ApiError: it cannot be met as asked; `param` names the field.
    """
    given = await given_items(request, around, history)
    transcript = read_items(history, given, around)
    table = read_tools(request.tools or [], around.state.web)
    choice = read_tool_choice(request.tool_choice, table)
    messages = with_opening(
        transcript.finish(),
        effort=effective_effort(asked_effort(request.reasoning)),
        instructions=request.instructions,
        groups=choice.table.groups,
        sections=developer_sections(request.text),
        today=datetime.now().astimezone().date(),
        browser=choice.table.web_search is not None,
    )
    if request.truncation == "auto":
        messages = await asyncio.to_thread(shortened, messages, around, max_output)
    return Prompt(
        messages=messages,
        input_items=[stored_item(item, f"input[{i}]") for i, item in enumerate(given)],
        table=table,
        choice=choice,
        notes=(*table.ignored, *transcript.notes),
        pages=transcript.pages,
    )


async def given_items(
    request: PromptRequest, around: Surroundings, history: Sequence[JsonObject]
) -> list[JsonObject]:
    """The items of a request's own input, references replaced by what they stand for.

    Raises:
        ApiError: the model or an item is unknown, or there are none or too many.
    """
    require_model(around.state, request.model)
    given = around.state.search_memory.completed(
        await resolved(_input_items(request, bool(history)), around.store)
    )
    _check_number(len(history) + len(given), around.service.max_context)
    return given


def read_items(
    history: Sequence[JsonObject], given: Sequence[JsonObject], around: Surroundings
) -> Transcript:
    """All items as messages.

    Raises:
        ApiError: one is malformed; `param` says where it stands.
    """
    transcript = Transcript(around.sealer, around.settings.images)
    for name, items in (("history", history), ("input", given)):
        for position, item in enumerate(items):
            transcript.add(item, f"{name}[{position}]")
    return transcript


def _question(
    request: ResponseRequest, prompt: Prompt, deadline: float, browser: Browser | None
) -> Question:
    table = prompt.choice.table
    grammars = table.grammars
    grammar = answer_grammar(request.text)
    if grammar is not None:
        grammars[FINAL] = grammar
    return Question(
        prompt.messages,
        sampling=sampling_of(request),
        stop=stop_strings(request),
        tools=() if browser is None else [*browser_tools(browser), *table.handed_on],
        max_tool_runs=request.max_tool_calls,
        tool_choice=prompt.choice.choice,
        reasoning=may_reason(asked_effort(request.reasoning)),
        grammars=grammars,
        deadline=deadline,
        priority=request.priority or 0,
        cache_salt=request.cache_salt or "",
    )


def _check_number(num_items: int, max_context: int) -> None:
    """Refuse at once what can never fit: every message takes four tokens at least.

    Raises:
        ApiError: there are too many items.
    """
    if num_items > max(1, max_context // 4):
        raise ApiError(
            f"{num_items} items do not fit the model's context of {max_context} tokens; leave the "
            "oldest out.",
            param="input",
            code="context_length_exceeded",
        )


def _input_items(request: PromptRequest, has_history: bool) -> Sequence[object]:
    given = request.input
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if not given and not has_history:
        raise ApiError(
            "Missing required parameter: 'input'. One of 'input', 'previous_response_id' and "
            "'conversation' must say what to answer.",
            param="input",
            code="missing_required_parameter",
        )
    return given or []


def shortened(
    messages: Sequence[Message], around: Surroundings, max_output: int | None
) -> list[Message]:
    """The messages without the oldest ones, so that an answer fits; as `fitted`.

    Raises:
        ApiError: a message cannot be written in the format.
    """
    try:
        return fitted(
            messages,
            around.renderer,
            max_context=around.service.max_context,
            max_output=max_output,
        )
    except HarmonyError as error:
        raise ApiError.of(error) from None
