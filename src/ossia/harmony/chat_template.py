"""ChatTemplate: a checkpoint's own Jinja template, rendered as transformers renders it.

The result is text in which special tokens stand by name, so text from users can imitate them; a
conversation that must be safe goes through the renderer instead.
"""

from __future__ import annotations

import inspect
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from jinja2 import Template, TemplateError

from ossia.errors import CheckpointError, HarmonyError, RequestError
from ossia.harmony.function_schema import function_schema
from ossia.harmony.open_message import OpenMessage
from ossia.harmony.template_sandbox import plain_data, sandbox
from ossia.harmony.template_variables import asked_variables

_REASONING_NAMES = ("reasoning_content", "thinking", "reasoning")

Tool = Mapping[str, Any] | Callable[..., Any]
Spans = list[tuple[int, int]]


def _local_now() -> datetime:
    return datetime.now().astimezone()


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: The template.
        now: Tells the time to templates that ask for the date.

    Raises:
        HarmonyError: the template is not valid Jinja.
    """

    def __init__(self, source: str, *, now: Callable[[], datetime] = _local_now) -> None:
        self._source = source
        self._now = now
        try:
            self._template = sandbox(now).from_string(source)
        except TemplateError as error:
            raise HarmonyError(f"the chat template is not valid: {error}") from error

    @classmethod
    def from_folder(
        cls, path: str | Path, *, now: Callable[[], datetime] = _local_now
    ) -> ChatTemplate:
        """Read `chat_template.jinja`, or else what tokenizer_config.json holds.

        Raises:
            CheckpointError: the folder has no chat template.
            HarmonyError: the template is not valid Jinja.
        """
        file = Path(path) / "chat_template.jinja"
        if file.is_file():
            return cls(file.read_text(encoding="utf-8"), now=now)
        config = Path(path) / "tokenizer_config.json"
        if config.is_file():
            source = json.loads(config.read_text(encoding="utf-8")).get("chat_template")
            if isinstance(source, str):
                return cls(source, now=now)
        raise CheckpointError("not found; this checkpoint has no chat template", file=file)

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names that the template asks for, `messages` and the like among them."""
        environment = sandbox(self._now)
        asked = asked_variables(environment.parse(self._source))
        return asked - set(environment.globals)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Tool] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        **variables: object,
    ) -> str:
        """The chat as text.

        Args:
            messages: Objects with a `role` and whatever else the template looks for. Reasoning is
                found under any of `thinking`, `reasoning` and `reasoning_content`.
            tools: Tools as JSON objects, or functions (see `function_schema`).
            documents: Documents as JSON objects.
            add_generation_prompt: End with the start of the assistant's next message.
            continue_final_message: End inside the last message, behind its `content` or the field
                of this name, so that the model goes on with it.
            variables: What else the template takes, such as `reasoning_effort`.

        Raises:
            HarmonyError: the template refuses the chat, or fails.
            RequestError: an argument is not as described, or there is nothing to continue.
        """
        chat = _as_chat(messages)
        last = None
        if continue_final_message:
            field = continue_final_message if isinstance(continue_final_message, str) else "content"
            last = OpenMessage(chat, field, self._source, _REASONING_NAMES)
        text = self._run(self._template, chat, tools, documents, add_generation_prompt, variables)
        return text if last is None else last.cut(text)

    def render_with_spans(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Tool] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        **variables: object,
    ) -> tuple[str, Spans]:
        """The same, with the parts that an assistant wrote.

        Returns:
            The text, and begin and end in it of what stands in `{% generation %}` blocks; no spans
            if the template has none. Arguments and errors are those of `render`.
        """
        template, begin, end = self._marked
        chat = _as_chat(messages)
        text = self._run(template, chat, tools, documents, add_generation_prompt, variables)
        before, *marked = text.split(begin)
        spans: Spans = []
        for part in marked:
            inside, _, behind = part.partition(end)
            spans.append((len(before), len(before) + len(inside)))
            before += inside + behind
        return before, spans

    @cached_property
    def _marked(self) -> tuple[Template, str, str]:
        """The template with marks around generated parts that no chat can guess, and the marks."""
        key = secrets.token_hex(16)
        begin, end = f"<begin {key}>", f"<end {key}>"
        return sandbox(self._now, (begin, end)).from_string(self._source), begin, end

    @staticmethod
    def _run(
        template: Template,
        chat: list[dict[str, object]],
        tools: Sequence[Tool] | None,
        documents: Sequence[Mapping[str, Any]] | None,
        add_generation_prompt: bool,
        variables: Mapping[str, object],
    ) -> str:
        if any(not isinstance(each, Mapping) for each in cast("Sequence[object]", documents or ())):
            raise RequestError("each must be an object with a title and a text", field="documents")
        try:
            return template.render(
                messages=chat,
                tools=None if tools is None else plain_data([as_schema(tool) for tool in tools]),
                documents=plain_data(documents),
                add_generation_prompt=add_generation_prompt,
                **{name: plain_data(value) for name, value in variables.items()},
            )
        except RequestError:
            raise
        except (
            TemplateError,
            TypeError,
            ValueError,
            LookupError,
            ArithmeticError,
            RecursionError,
        ) as error:
            raise HarmonyError(f"the chat template refuses this chat: {error}") from error


def as_schema(tool: Tool) -> Mapping[str, Any]:
    """A tool as a JSON object.

    Raises:
        RequestError: it is neither an object nor a function.
        HarmonyError: a function that `function_schema` refuses.
    """
    if isinstance(tool, Mapping):
        return cast("Mapping[str, Any]", tool)
    if inspect.isfunction(tool) or inspect.ismethod(tool):
        return function_schema(tool)
    raise RequestError(
        "each must be a JSON object, or a function with type hints and a docstring", field="tools"
    )


def _as_chat(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """A copy in plain data, with reasoning under the names that templates look for."""
    chat: list[dict[str, object]] = []
    for each in messages:
        message = plain_data(each)
        if not isinstance(message, dict):
            raise RequestError(f"a message must be an object, not {message!r}", field="messages")
        chat.append(_with_reasoning(cast("dict[str, object]", message)))
    return chat


def _with_reasoning(message: dict[str, object]) -> dict[str, object]:
    found = (message[name] for name in _REASONING_NAMES if message.get(name) is not None)
    reasoning = next(found, None)
    if reasoning is None:
        return message
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}
