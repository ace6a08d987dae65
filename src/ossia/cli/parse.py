"""`ossia parse`: what a model wrote, or a whole prompt, to messages."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from ossia.cli.options import JsonOption
from ossia.cli.output import Output
from ossia.errors import RequestError

EXAMPLES = (
    "ossia parse output.txt",
    "ossia render chat.json --tokens | ossia parse - --json",
    "echo 200005 17196 200008 13225 200002 | ossia parse - --strict",
)


class Beginning(StrEnum):
    """Whose header the tokens begin in."""

    START = "start"
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


def parse(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-",
            help="Token ids, or text with special tokens by name: all messages from <|start|> on, "
            "or what a model wrote behind <|start|>assistant.",
        ),
    ],
    begins: Annotated[
        Beginning | None,
        typer.Option("--begins", help="With <|start|>, or in whose header. [default: as it looks]"),
    ] = None,
    ids: Annotated[bool, typer.Option("--ids", help="Read token ids, whatever it looks like.")] = (
        False
    ),
    text: Annotated[bool, typer.Option("--text", help="Read text, whatever it looks like.")] = (
        False
    ),
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse what is malformed instead of mending it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the messages in a model's output or in a prompt.

    Whatever is malformed is mended, and said to be.
    """
    if ids and text:
        raise RequestError("--ids and --text exclude each other", field="source")
    from ossia.cli.source import read_source
    from ossia.cli.token_view import messages_as_json, show_messages
    from ossia.harmony import Role, StreamParser
    from ossia.harmony.interchange import read_tokens, without_next_start
    from ossia.tokenizer import Tokenizer, special

    tokenizer = Tokenizer.o200k_harmony()
    as_ids = ids or (False if text else None)
    tokens = read_tokens(read_source(source, "source"), tokenizer, as_ids=as_ids)
    if begins is None:
        looks_whole = bool(tokens) and tokens[0] == special.START
        begins = Beginning.START if looks_whole else Beginning.ASSISTANT
    whole, next_role = tokens, None
    if begins is Beginning.START:
        whole, next_role = without_next_start(tokens, tokenizer)
    role = None if begins is Beginning.START else Role(begins.value)
    parser = StreamParser(tokenizer, role, strict=strict)
    for token in whole:
        parser.push(token)
    parser.finish()
    output = Output()
    if next_role is not None:
        output.note(f"(ends in the start of a message of role {next_role})")
    if as_json:
        output.json(messages_as_json(parser.messages, parser.repairs))
    else:
        show_messages(output, parser.messages, parser.repairs)
