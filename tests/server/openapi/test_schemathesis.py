"""schemathesis on the server's own document, a short run; `fuzz.http` is the long one."""

from __future__ import annotations

import pytest

from fuzz import http

_PHASES = (
    ("--phases=examples,fuzzing,stateful", "--max-examples=1"),
    ("--phases=coverage", "--include-tag=Models", "--include-operation-id=countMessageTokens"),
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def test_what_the_document_says_holds(folder):
    with http.server(folder) as address:
        for options in _PHASES:
            done = http.run(address, folder, "--seed=1", *options)
            assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert http.complaints(folder) == []
