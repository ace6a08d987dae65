"""The error funnel: whatever a command raises becomes one line on stderr and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

import typer

from ossia.env import debug
from ossia.errors import OssiaError

USAGE_EXIT = 2
UNEXPECTED_EXIT = 70  # EX_SOFTWARE of sysexits.h
INTERRUPT_EXIT = 128 + signal.SIGINT
BROKEN_PIPE_EXIT = 128 + 13  # SIGPIPE, which Windows lacks

# Typer exports no base class of its usage errors; it is this one in every version.
_UsageError = typer.BadParameter.__mro__[1]


def exit_code_of(command: Callable[[], object]) -> int:
    """Run a command to its exit code; nothing but SystemExit passes this function.

    Exit codes: 0 done, 1 refused by Ossia or the system, 2 wrong usage, 3 bad checkpoint, 4 no such model, 5 missing
    package, 70 a defect of Ossia, 130 interrupted, 141 nobody reads the output any more.
    """
    try:
        command()
    except typer.Exit as request:
        return request.exit_code
    except (KeyboardInterrupt, typer.Abort):
        if sys.stderr.isatty():
            sys.stderr.write("\n")  # the shell's prompt is to have a line of its own
        return INTERRUPT_EXIT
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE_EXIT
    except Exception as error:
        exit_code = _report(error)
        try:
            sys.stdout.flush()
        except OSError:  # a full disk: it is what was just reported
            _drop_output()
        return exit_code
    return 0


def _report(error: Exception) -> int:
    if debug():
        traceback.print_exception(error)
    message, exit_code = _explain(error)
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    return exit_code


def _explain(error: Exception) -> tuple[str, int]:
    if isinstance(error, OssiaError):
        return _one_line(str(error)), error.exit_code
    if isinstance(error, _UsageError):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "ossia"
        message = getattr(error, "format_message", error.__str__)()
        return f"{_one_line(message).rstrip('.')}; see `{command} --help`", USAGE_EXIT
    if isinstance(error, MemoryError):
        return f"out of memory: {_one_line(str(error)) or 'use a smaller model or context'}", 1
    hint = "" if debug() else "; OSSIA_DEBUG=1 shows where"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{_one_line(where + error.strerror)}{hint}", 1
    kind = type(error).__name__
    return f"unexpected {kind}: {_one_line(str(error))}{hint}", UNEXPECTED_EXIT


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _drop_output() -> None:
    # The interpreter flushes stdout when it ends and would complain once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
