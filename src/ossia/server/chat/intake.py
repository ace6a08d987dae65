"""What a chat request amounts to: questions for the model, and how their answers are to be given."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from ossia.api.question import Question
from ossia.api.turn_masks import FINAL
from ossia.errors import OssiaError
from ossia.harmony import DeveloperContent, Message, Role
from ossia.harmony.chat_messages import conversation_from_chat
from ossia.server.api_error import ApiError
from ossia.server.chat.messages import plain_messages
from ossia.server.chat.response_format import answer_grammar, developer_sections
from ossia.server.chat.schemas import ChatRequest
from ossia.server.chat.tools import read_chat_tools, uses_functions
from ossia.server.effort import effective_effort, may_reason
from ossia.server.model_names import require_model
from ossia.server.responses.tool_choice import ToolChoice
from ossia.server.responses.tools import CallableTool
from ossia.server.sampling_fields import checked_n, sampling_params
from ossia.server.state import ServerState


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatPlan:
    """What is to be done for a request.

    Args:
        body: The request.
        model: The name of the model that answers.
        questions: One for each choice.
        tools: By the names that events give them.
        as_functions: Calls are given back in the form from before there were tools.
        show_reasoning: Whether clients get the reasoning.
    """

    body: ChatRequest
    model: str
    questions: tuple[Question, ...]
    tools: Mapping[str, CallableTool]
    as_functions: bool
    show_reasoning: bool


def plan_chat(body: ChatRequest, state: ServerState) -> ChatPlan:
    """Read a request.

    Raises:
        ApiError: it cannot be served as asked; names the field.
    """
    model = require_model(state, body.model)
    _refuse_unoffered(body)
    choice = read_chat_tools(body)
    question = _question(body, state, choice)
    n = checked_n(body, state.settings.max_n)
    return ChatPlan(
        body=body,
        model=model,
        questions=tuple(_with_seed(question, index) for index in range(n)),
        tools=choice.table.by_event_name,
        as_functions=uses_functions(body),
        show_reasoning=state.settings.reasoning != "hidden",
    )


def chat_messages(body: ChatRequest, state: ServerState) -> list[Message]:
    """The conversation that a request shows to the model, which need not be able to go on from it.

    Raises:
        ApiError: as in `plan_chat`, but calls may wait and contents may be missing.
    """
    return _messages(body, state, read_chat_tools(body), complete=False)


def _question(body: ChatRequest, state: ServerState, choice: ToolChoice) -> Question:
    grammars = dict(choice.table.grammars)
    if (answer := answer_grammar(body.response_format)) is not None:
        grammars[FINAL] = answer
    most = body.max_completion_tokens
    sampling = sampling_params(
        body,
        max_tokens=body.max_tokens if most is None else most,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
    )
    return Question(
        _messages(body, state, choice, complete=True),
        sampling=sampling,
        stop=body.stop_strings,
        tool_choice=choice.choice,
        reasoning=may_reason(body.reasoning_effort),
        grammars=grammars,
        deadline=time.monotonic() + state.settings.request_timeout,
        priority=body.priority or 0,
        cache_salt=body.cache_salt or "",
    )


def _messages(
    body: ChatRequest, state: ServerState, choice: ToolChoice, *, complete: bool
) -> list[Message]:
    plain = plain_messages(
        body.messages,
        images=state.settings.images,
        memory=state.reasoning_memory,
        complete=complete,
    )
    try:
        messages = conversation_from_chat(
            plain,
            reasoning_effort=effective_effort(body.reasoning_effort).value,
            date=datetime.now().astimezone().date().isoformat(),
        ).messages
    except OssiaError as error:
        raise ApiError(str(error), param="messages") from error
    _tell_developer(messages, choice, developer_sections(body))
    return messages


def _tell_developer(messages: list[Message], choice: ToolChoice, sections: list[str]) -> None:
    """Put tools and sections into the developer message that opens the chat, or into a new one."""
    groups = choice.table.groups
    if not groups and not sections:
        return
    if len(messages) < 2 or messages[1].author.role is not Role.DEVELOPER:
        messages.insert(1, Message.from_role_and_content(Role.DEVELOPER, DeveloperContent()))
    content = messages[1].content[0]
    assert isinstance(content, DeveloperContent)
    texts = [content.instructions, *sections]
    content.instructions = "\n\n".join(text for text in texts if text) or None
    content.tools = groups or None


def _with_seed(question: Question, index: int) -> Question:
    """The same for another choice, which must not draw the same tokens."""
    seed = question.sampling.seed
    if seed is None or index == 0:
        return question
    return replace(question, sampling=replace(question.sampling, seed=(seed + index) % 2**63))


def _refuse_unoffered(body: ChatRequest) -> None:
    if body.modalities is not None and set(body.modalities) - {"text"}:
        raise _not_offered("modalities", "gpt-oss writes text only")
    for name, why in _UNOFFERED.items():
        if getattr(body, name) is not None:
            raise _not_offered(name, why)
    if body.stream_options is not None and not body.stream:
        raise ApiError("'stream_options' is only for `stream: true`.", param="stream_options")
    most = body.max_completion_tokens
    if most is not None and body.max_tokens not in (None, most):
        raise ApiError(
            "'max_tokens' and 'max_completion_tokens' are names of one limit: give one of them.",
            param="max_tokens",
        )
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError("'top_logprobs' needs `logprobs: true`.", param="top_logprobs")


_UNOFFERED = {
    "audio": "gpt-oss writes text only",
    "moderation": "there is no moderation model here",
    "web_search_options": "this server does not search the web",
}


def _not_offered(name: str, why: str) -> ApiError:
    return ApiError(f"'{name}' is not offered: {why}.", param=name, code="unsupported_parameter")
