"""The store in PostgreSQL, for several servers at once; needs the extra `postgres`."""

from ossia.server.store.postgres.address import PostgresAddress
from ossia.server.store.postgres.store import PostgresStore

__all__ = ["PostgresAddress", "PostgresStore"]
