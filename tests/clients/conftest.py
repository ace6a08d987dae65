"""A server for all tests here, and at their end a table of what was exercised."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from clients import table
from clients.servers import demo_command
from support.serve_process import serving

_FOLDER = os.environ.get("OSSIA_TEST_CLIENTS")
_PROPERTY = "exercised"

Exercising = Callable[[str, str, str], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def clients_folder() -> Path:
    """What `install.py` filled."""
    if _FOLDER is None:
        pytest.skip("OSSIA_TEST_CLIENTS names no folder; see `make test-clients`")
    return Path(_FOLDER)


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(demo_command(), tmp_path_factory.mktemp("demo") / "log") as address:
        yield address


@pytest.fixture
def exercising(request: pytest.FixtureRequest) -> Exercising:
    """Puts into the table what a block exercises: client, versions, what; and whether it passed."""

    @contextmanager
    def exercise(client: str, versions: str, what: str) -> Iterator[None]:
        passed = False
        try:
            yield
            passed = True
        finally:
            row = (client, versions, what, passed)
            request.node.user_properties.append((_PROPERTY, row))

    return exercise


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the table; write it where OSSIA_TEST_CLIENTS_TABLE says."""
    path = os.environ.get("OSSIA_TEST_CLIENTS_TABLE")
    rows = table.rows_of(
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == _PROPERTY
    )
    if rows and path is not None:
        terminalreporter.section("clients")
        terminalreporter.write(table.as_text(rows))
        table.write_page(Path(path), rows)
