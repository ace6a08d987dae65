"""The `ossia` command: a table of contents. No torch is loaded before a command needs it."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from ossia import __version__, env
from ossia.cli import (
    bench,
    chat,
    convert,
    doctor,
    generate,
    inspect,
    parse,
    pull,
    render,
    run,
    serve,
)
from ossia.cli.errors import exit_code_of
from ossia.cli.output import Output
from ossia.garbage import leave_garbage
from ossia.log import show_log

app = typer.Typer(
    name="ossia",
    help="Run OpenAI's open-weight gpt-oss models.",
    epilog="Try: ossia run \"How many rs are in the word 'strawberry'?\"",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(name: str, command: Callable[..., None], examples: Sequence[str]) -> None:
    lines = ("\b", "Examples:", *(f"  {example}" for example in examples))  # \b: do not wrap
    app.command(name, epilog="\n".join(lines))(command)


_add("run", run.run, run.EXAMPLES)
_add("chat", chat.chat, chat.EXAMPLES)
_add("serve", serve.serve, serve.EXAMPLES)
_add("generate", generate.generate, generate.EXAMPLES)
_add("pull", pull.pull, pull.EXAMPLES)
_add("inspect", inspect.inspect, inspect.EXAMPLES)
_add("convert", convert.convert, convert.EXAMPLES)
app.add_typer(bench.app)
_add("render", render.render, render.EXAMPLES)
_add("parse", parse.parse, parse.EXAMPLES)
_add("doctor", doctor.doctor, doctor.EXAMPLES)


def _print_version(wanted: bool) -> None:
    if wanted:
        Output().line(f"ossia {__version__}")
        raise typer.Exit


@app.callback()
def _ossia(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    del version  # its callback has answered
    if (level := env.log_level()) is not None:
        show_log(level)


def _open_closed_streams() -> None:
    """A process may start with closed streams: then reading finds the end, writing goes nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115  (for the whole process)
            atexit.register(stream.close)
            setattr(sys, name, stream)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: Without the program's name; by default those of the process.

    Returns:
        The exit code; see `ossia.cli.errors.exit_code_of`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if arguments is None:  # this is the process's own command line
        env.let_waiting_threads_sleep()
        if words[0] == "serve":
            serve.restart_with_allocator()
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A terminal that cannot show a character shows a question mark.
            reconfigure(errors="replace")
    command = typer.main.get_command(app)

    def invoke() -> None:
        # Typer's own `main` would decide on exit codes and print more than one line.
        with command.make_context("ossia", words) as context:
            command.invoke(context)
        sys.stdout.flush()

    exit_code = exit_code_of(invoke)
    if arguments is None:
        leave_garbage()
    return exit_code
