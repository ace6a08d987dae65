"""Stores of every kind, for tests of what they have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ossia.server.store import SqliteStore, Store
from support import postgres_cluster


class Place:
    """A place where a store can be opened again and again.

    Args:
        kind: "memory", "sqlite" or "postgres".
        folder: Empty.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._folder = folder
        self._schema = postgres_cluster.fresh_schema()

    def open(self, **options: Any) -> Store:
        if self.kind == "memory":
            return SqliteStore(**options)
        if self.kind == "sqlite":
            return SqliteStore(self._folder, **options)
        return postgres_store(self._schema, **options)

    @property
    def arguments(self) -> list[str]:
        """For `open_from`, in another process."""
        where = postgres_cluster.cluster().url if self.kind == "postgres" else str(self._folder)
        return [self.kind, where, self._schema]


def open_from(kind: str, where: str, schema: str) -> Store:
    """A store from the words that `Place.arguments` are."""
    if kind == "postgres":
        return _postgres_store(where, schema)
    return SqliteStore(Path(where))


def postgres_store(schema: str, **options: Any) -> Store:
    """A store in the tests' own database server, which has just started."""
    return _postgres_store(postgres_cluster.cluster().url, schema, **options)


def _postgres_store(url: str, schema: str, **options: Any) -> Store:
    from ossia.server.store.postgres.address import PostgresAddress
    from ossia.server.store.postgres.store import PostgresStore

    options = {"settling": 0.0, **options}
    return PostgresStore(PostgresAddress(url), schema=schema, **options)


def _kinds(*kinds: str) -> list[Any]:
    why_not = postgres_cluster.why_not()
    marks = [pytest.mark.skip(reason=why_not)] if why_not else []
    return [pytest.param(kind, marks=marks if kind == "postgres" else []) for kind in kinds]


EVERY_KIND = pytest.mark.parametrize("kind", _kinds("memory", "sqlite", "postgres"))
LASTING_KINDS = pytest.mark.parametrize("kind", _kinds("sqlite", "postgres"))
NEEDS_POSTGRES = pytest.mark.skipif(
    postgres_cluster.why_not() is not None, reason=str(postgres_cluster.why_not())
)
