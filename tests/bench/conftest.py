"""Models to measure."""

from __future__ import annotations

import pytest

from ossia.bench.subject import Subject, load_subject


@pytest.fixture(scope="session")
def tiny() -> Subject:
    """Random weights of a small shape on the CPU."""
    return load_subject("random:tiny", device="cpu", threads=1)


@pytest.fixture
def own_tiny() -> Subject:
    """The same, for a test that changes its weights."""
    return load_subject("random:tiny", device="cpu", threads=1)
