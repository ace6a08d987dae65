"""The SQLite store's file and folder; what all stores do is in test_contract.py."""

import asyncio
import os
import sys

import pytest

from ossia.errors import StoreError
from ossia.server.store import SqliteStore

DATABASE = ("store.sqlite3", "store.sqlite3-shm", "store.sqlite3-wal")


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


def _mode(path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture
def no_umask():
    """Files are made for everybody, unless who makes them sees to it."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.skipif(sys.platform == "win32", reason="other permissions")
@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.usefixtures("no_umask")
def test_only_the_owner_can_read_what_is_kept(tmp_path, is_there):
    folder = tmp_path / "state"
    if is_there:
        folder.mkdir(mode=0o755)
    store = SqliteStore(folder)
    assert _mode(folder) == 0o700
    files = {each.name: _mode(each) for each in folder.iterdir()}
    assert files == dict.fromkeys(["lock", *DATABASE], 0o600)
    asyncio.run(store.close())


@pytest.mark.skipif(sys.platform == "win32", reason="other permissions")
@pytest.mark.usefixtures("no_umask")
def test_what_others_could_read_is_closed_to_them(tmp_path):
    folder = tmp_path / "state"
    store = SqliteStore(folder)
    left = {name: (folder / name).read_bytes() for name in DATABASE}  # as a killed server does
    asyncio.run(store.close())
    for name, data in left.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644)
    folder.chmod(0o755)
    store = SqliteStore(folder)
    assert _mode(folder) == 0o700
    assert [_mode(folder / name) for name in DATABASE] == [0o600] * 3
    asyncio.run(store.close())


@pytest.mark.skipif(sys.platform == "win32", reason="other permissions")
def test_an_open_folder_of_other_things_is_refused_and_left_as_it_is(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "letters.txt").touch()
    with pytest.raises(
        StoreError, match=r"others can read .*letters\.txt; `chmod 700` it, or move"
    ):
        SqliteStore(tmp_path)
    assert _mode(tmp_path) == 0o755
    assert [each.name for each in tmp_path.iterdir()] == ["letters.txt"]
    tmp_path.chmod(0o700)
    asyncio.run(SqliteStore(tmp_path).close())
