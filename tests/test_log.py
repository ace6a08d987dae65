"""Logging: silent unless asked for, and then on stderr, once."""

from __future__ import annotations

import logging

import pytest

from ossia.log import logger, show_log


@pytest.fixture
def root():
    """The package's logger, as it was before."""
    root = logging.getLogger("ossia")
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_nothing_is_written_unless_asked_for(capsys):
    logger("ossia.somewhere").error("unheard")
    assert capsys.readouterr() == ("", "")


def test_the_log_goes_to_stderr_once(root, capsys):
    show_log("info")
    show_log("info")
    logger("ossia.somewhere").info("heard")
    logger("ossia.somewhere").debug("too fine")
    assert capsys.readouterr() == ("", "INFO ossia.somewhere: heard\n")
    assert len(root.handlers) == 2
