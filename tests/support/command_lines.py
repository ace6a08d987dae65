"""Commands that pages show: whether the command line takes them."""

from __future__ import annotations

import re
import shlex

import typer

from ossia.cli.main import app


def command_lines(page: str) -> list[str]:
    """What stands in a page's shell blocks, line by line."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def accept(line: str) -> None:
    """Have a command of ossia's parsed, not run; a wrong one raises."""
    words = shlex.split(line)
    words = words[words.index("ossia") + 1 :]
    command = typer.main.get_command(app)
    context = command.make_context("ossia", list(words))
    while (inner := getattr(command, "commands", {}).get(words[0])) is not None:
        command, words = inner, words[1:]
        context = command.make_context(command.name, list(words), parent=context)
        if not hasattr(command, "commands"):
            break
