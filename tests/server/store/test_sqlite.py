"""The SQLite store's file and folder; what all stores do is in test_contract.py."""

import asyncio

import pytest

from ossia.errors import StoreError
from ossia.server.store import SqliteStore


def test_a_folder_belongs_to_one_server(tmp_path):
    async def scenario():
        store = SqliteStore(tmp_path / "state")
        with pytest.raises(StoreError, match="in use by another server"):
            SqliteStore(tmp_path / "state")
        await store.close()
        await SqliteStore(tmp_path / "state").close()

    asyncio.run(scenario())


def test_damage_is_told(tmp_path):
    (tmp_path / "store.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match=r"move store\.sqlite3 away"):
        SqliteStore(tmp_path)
    (tmp_path / "store.sqlite3").unlink()
    asyncio.run(SqliteStore(tmp_path).close())


def test_a_newer_store_is_left_alone(tmp_path):
    import sqlite3

    asyncio.run(SqliteStore(tmp_path).close())
    connection = sqlite3.connect(tmp_path / "store.sqlite3")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="version 99"):
        SqliteStore(tmp_path)
