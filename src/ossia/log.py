"""Logging: one logger for each module, below `ossia`; silent until somebody listens.

Applications configure the `ossia` logger as any other. The command line shows it on stderr from
the level that OSSIA_LOG names.
"""

from __future__ import annotations

import logging
import sys

_ROOT = "ossia"
logging.getLogger(_ROOT).addHandler(logging.NullHandler())


def logger(module: str) -> logging.Logger:
    """The logger of a module, given its `__name__`."""
    return logging.getLogger(module)


def show_log(level: str) -> None:
    """Write what is logged from a level on to stderr, once in a process.

    Args:
        level: "debug", "info", "warning" or "error".
    """
    root = logging.getLogger(_ROOT)
    root.setLevel(level.upper())
    if not any(isinstance(handler, logging.StreamHandler) for handler in root.handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)


_said: set[tuple[str, str]] = set()


def warn_once(log: logging.Logger, message: str) -> None:
    """Log a warning the first time that it comes up in this process."""
    if (log.name, message) not in _said:
        _said.add((log.name, message))
        log.warning(message)
