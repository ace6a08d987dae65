"""`ossia render`: a conversation to the prompt that a model reads."""

from __future__ import annotations

from datetime import date as calendar
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from ossia.cli.options import Effort, JsonOption
from ossia.cli.output import Output
from ossia.errors import RequestError

if TYPE_CHECKING:
    from ossia.harmony import Conversation, HarmonyEncoding
    from ossia.harmony.interchange import ChatSettings

EXAMPLES = (
    "ossia render chat.json",
    "ossia render chat.json --tools tools.json --effort high --tokens | ossia parse -",
    'echo \'[{"role": "user", "content": "Hi"}]\' | ossia render - --builtin python',
)


class Purpose(StrEnum):
    """What a rendering is for."""

    COMPLETION = "completion"
    TRAINING = "training"
    HISTORY = "history"


class Builtin(StrEnum):
    """The tools that gpt-oss was trained with."""

    BROWSER = "browser"
    PYTHON = "python"


def render(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-",
            help="JSON: messages as the Chat Completions API takes them, a request body with such, "
            "or a conversation in harmony's own form.",
        ),
    ],
    purpose: Annotated[
        Purpose,
        typer.Option(
            "--for",
            help="completion ends in the start of an answer, training ends an answer in <|return|>, "
            "history is the messages alone.",
        ),
    ] = Purpose.COMPLETION,
    tools: Annotated[
        str | None, typer.Option("--tools", metavar="FILE", help="Functions to offer, as JSON.")
    ] = None,
    builtin: Annotated[
        list[Builtin] | None, typer.Option("--builtin", help="Offer a built-in tool; repeatable.")
    ] = None,
    effort: Annotated[
        Effort | None, typer.Option("--effort", "-e", help="How long to think.")
    ] = None,
    date: Annotated[
        str | None,
        typer.Option("--date", metavar="YYYY-MM-DD", help="What day it is. [default: today]"),
    ] = None,
    keep_reasoning: Annotated[
        bool, typer.Option("--keep-reasoning", help="Write the reasoning of finished turns, too.")
    ] = False,
    as_library: Annotated[
        list[str] | None,
        typer.Option(
            "--as-library",
            metavar="DIFFERENCE|all",
            help="Write this as openai_harmony does; repeatable. See docs/harmony_differences.md.",
        ),
    ] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Print token ids.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the prompt that a conversation becomes.

    On a terminal, special tokens are coloured; what only imitates them is not.
    """
    if tokens and as_json:
        raise RequestError("--tokens and --json exclude each other", field="output")
    from ossia.cli.source import read_source
    from ossia.cli.token_view import show_tokens
    from ossia.harmony import load_harmony_encoding
    from ossia.harmony.differences import differences_named
    from ossia.harmony.interchange import read_conversation

    encoding = load_harmony_encoding(
        "HarmonyGptOss", as_library=differences_named(as_library or ())
    )
    settings = _settings(tools, builtin, effort, date)
    read = read_conversation(read_source(source, "source"), settings)
    ids = _ids(encoding, read.conversation, purpose, keep_reasoning=keep_reasoning)
    output = Output()
    if read.unused:
        output.note(f"(no part of the prompt: {', '.join(read.unused)})")
    if as_json:
        output.json({"text": encoding.decode(ids), "tokens": ids})
    elif tokens:
        output.line(" ".join(map(str, ids)))
    else:
        show_tokens(output, encoding.tokenizer, ids)
        output.line()


def _settings(
    tools: str | None, builtin: list[Builtin] | None, effort: Effort | None, date: str | None
) -> ChatSettings:
    from ossia.cli.source import read_source
    from ossia.harmony.interchange import ChatSettings, read_tools

    return ChatSettings(
        tools=None if tools is None else read_tools(read_source(tools, "tools")),
        builtin_tools=None if not builtin else [each.value for each in builtin],
        reasoning_effort=None if effort is None else effort.value,
        date=None if date is None else _checked_date(date),
    )


def _checked_date(text: str) -> str:
    try:
        return calendar.fromisoformat(text).isoformat()
    except ValueError:
        raise RequestError(f"{text!r} is no date; write it as 2025-06-28", field="date") from None


def _ids(
    encoding: HarmonyEncoding,
    conversation: Conversation,
    purpose: Purpose,
    *,
    keep_reasoning: bool,
) -> list[int]:
    from ossia.harmony import RenderConversationConfig

    config = RenderConversationConfig(auto_drop_analysis=not keep_reasoning)
    if purpose is Purpose.COMPLETION:
        return encoding.render_conversation_for_completion(conversation, config=config)
    if purpose is Purpose.TRAINING:
        return encoding.render_conversation_for_training(conversation, config)
    return encoding.render_conversation(conversation, config)
