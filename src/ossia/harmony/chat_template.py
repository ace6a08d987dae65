"""ChatTemplate: a checkpoint's own Jinja template, rendered as transformers renders it.

Templates come with downloads and are not trusted: they run in Jinja's immutable sandbox and see
plain data only. Their result is text in which special tokens stand by name, so text from users
can imitate them; a conversation that must be safe goes through the renderer instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from ossia.errors import CheckpointError, HarmonyError

_Names = dict[str, Callable[..., object]]
_REASONING_NAMES = ("reasoning_content", "thinking", "reasoning")


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
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        filters = cast("_Names", environment.filters)  # pyright: ignore[reportUnknownMemberType]
        names = cast("_Names", environment.globals)  # pyright: ignore[reportUnknownMemberType]
        filters["tojson"] = _tojson
        names["raise_exception"] = _raise_exception
        names["strftime_now"] = partial(_strftime, now)
        names["namespace"] = _PublicNamespace
        try:
            self._template = environment.from_string(source)
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

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        **variables: object,
    ) -> str:
        """The chat as text.

        Args:
            messages: Objects with a `role` and whatever else the template looks for. Reasoning is
                found under any of `thinking`, `reasoning` and `reasoning_content`.
            tools: Tools as JSON objects.
            documents: Documents as JSON objects.
            add_generation_prompt: End with the start of the assistant's next message.
            variables: What else the template takes, such as `reasoning_effort`.

        Raises:
            HarmonyError: the template refuses the chat, or fails.
        """
        chat = [_with_reasoning(cast("dict[str, object]", _plain(each))) for each in messages]
        try:
            return self._template.render(
                messages=chat,
                tools=_plain(tools),
                documents=_plain(documents),
                add_generation_prompt=add_generation_prompt,
                **{name: _plain(value) for name, value in variables.items()},
            )
        except (
            TemplateError,
            TypeError,
            ValueError,
            LookupError,
            ArithmeticError,
            RecursionError,
        ) as error:
            raise HarmonyError(f"the chat template refuses this chat: {error}") from error


class _Generation(Extension):
    """`{% generation %}` marks what an assistant wrote; the text passes through."""

    tags = {"generation"}  # noqa: RUF012  (declared so by Jinja)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _PublicNamespace(Namespace):
    """A namespace without private names, which could reach into the interpreter."""

    def __init__(self, /, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  (as dict takes)
        initial = dict[str, Any](*args, **kwargs)
        for name in initial:
            _check_public(name)
        super().__init__(initial)

    def __setitem__(self, name: str, value: object) -> None:
        _check_public(name)
        super().__setitem__(name, value)


def _check_public(name: str) -> None:
    if name.startswith("_"):
        raise SecurityError(f"a chat template may not set {name!r} on a namespace")


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _strftime(now: Callable[[], datetime], pattern: str) -> str:
    return now().strftime(pattern)


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _plain(value: object) -> object:
    """A copy made of JSON types alone; an object of another type becomes a word for it."""
    match value:
        case None | bool():
            return value
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float():
            return float(value)
        case Mapping():
            items = cast("Mapping[object, object]", value).items()
            return {_plain(key): _plain(item) for key, item in items}
        case list() | tuple():
            plain = map(_plain, cast("Sequence[object]", value))
            return tuple(plain) if isinstance(value, tuple) else list(plain)
        case _:
            return f"<{type(value).__name__}>"


def _with_reasoning(message: dict[str, object]) -> dict[str, object]:
    """Offer reasoning under the names that templates look for."""
    found = (message[name] for name in _REASONING_NAMES if message.get(name) is not None)
    reasoning = next(found, None)
    if reasoning is None:
        return message
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}
