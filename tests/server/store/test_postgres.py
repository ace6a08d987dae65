"""The PostgreSQL store: several servers on one database, and a database that goes away."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx2
import psycopg
import pytest

from ossia.errors import ConfigError, MissingDependencyError, StoreError, StoreUnreachableError
from ossia.server.launch import open_store
from ossia.server.settings import ServerSettings
from ossia.server.store import StoredResponse
from ossia.server.store.postgres.address import PostgresAddress
from ossia.server.store.postgres.link import Link, LinkSettings
from ossia.server.store.postgres.session import PostgresSession
from support.postgres_cluster import cluster, fresh_schema
from support.stores import NEEDS_POSTGRES, postgres_store

TESTS = Path(__file__).parents[2]


@pytest.fixture
def schema():
    return fresh_schema()


def _record(response_id: str, status: str, **more) -> StoredResponse:
    response = {"id": response_id, "status": status, "created_at": 1.0, "output": [], **more}
    return StoredResponse(response=response)


async def _until(condition) -> None:
    """Wait until a coroutine function gives something true; an outage is not."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(StoreUnreachableError):
                if await condition():
                    return
            await asyncio.sleep(0.02)


async def _status(store, response_id: str) -> str:
    return (await store.get_response(response_id)).response["status"]


def _query(statement: str, *values):
    with psycopg.connect(cluster().url, autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


# A server that lives ------------------------------------------------------------------------------


@NEEDS_POSTGRES
def test_what_a_live_server_makes_is_left_alone_and_what_a_dead_one_left_is_failed(schema):
    async def scenario():
        live = postgres_store(schema, interval=0.02)
        dying = postgres_store(schema, interval=0.02)
        await live.put_response(_record("resp_live", "in_progress"))
        await dying.put_response(_record("resp_dying", "queued"))
        newcomer = postgres_store(schema)
        await asyncio.sleep(0.2)
        for response_id, status in (("resp_live", "in_progress"), ("resp_dying", "queued")):
            assert await _status(newcomer, response_id) == status
        await dying.close()

        async def is_failed():
            return await _status(newcomer, "resp_dying") == "failed"

        await _until(is_failed)
        assert await _status(newcomer, "resp_live") == "in_progress"
        await live.close()
        await newcomer.close()

    asyncio.run(scenario())


@NEEDS_POSTGRES
def test_a_server_whose_lock_was_lost_takes_it_again_and_keeps_what_it_finishes(schema):
    async def scenario():
        store = postgres_store(schema, interval=0.05)
        await store.put_response(_record("resp_1", "in_progress"))
        _query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")

        async def has_lock():
            return _query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'")

        await _until(has_lock)
        other = postgres_store(schema, interval=0.02)
        await asyncio.sleep(0.1)
        assert await _status(other, "resp_1") == "in_progress"
        await store.put_response(_record("resp_1", "completed"))
        assert await _status(other, "resp_1") == "completed"
        await store.close()
        await other.close()

    asyncio.run(scenario())


@NEEDS_POSTGRES
def test_nobody_is_taken_for_dead_right_after_the_database_has_started(schema):
    async def scenario():
        store = postgres_store(schema)
        await store.put_response(_record("resp_1", "in_progress"))
        cluster().stop()
        cluster().start()  # the store has no lock now, and no time to take it
        other = postgres_store(schema, settling=3600.0)
        assert await _status(other, "resp_1") == "in_progress"
        hasty = postgres_store(schema, settling=0.0)
        assert await _status(other, "resp_1") == "failed"
        for each in (store, other, hasty):
            await each.close()

    asyncio.run(scenario())


@NEEDS_POSTGRES
def test_servers_see_and_remove_what_others_have_written(schema):
    async def scenario():
        one, other = postgres_store(schema), postgres_store(schema)
        assert one.shared_key == other.shared_key
        assert len(one.shared_key) == 32
        events = [{"sequence_number": 0, "type": "x"}]
        await one.put_response(replace(_record("resp_1", "completed"), events=events))
        assert (await other.get_events("resp_1"))[0]["type"] == "x"
        assert await other.delete_response("resp_1")
        assert not await one.delete_response("resp_1")
        assert await one.get_response("resp_1") is None
        await one.close()
        await other.close()

    asyncio.run(scenario())


@NEEDS_POSTGRES
def test_items_of_one_call_stay_together(schema):
    calls, size = 20, 5

    async def scenario():
        stores = [postgres_store(schema) for _ in range(2)]
        await stores[0].put_conversation({"id": "conv_1"})

        async def add(store, name: str) -> None:
            for call in range(calls):
                await store.add_items(
                    "conv_1", [{"id": f"{name}_{call}_{place}"} for place in range(size)]
                )

        await asyncio.gather(add(stores[0], "a"), add(stores[1], "b"))
        ids = [item["id"].rsplit("_", 1) for item in await stores[0].get_items("conv_1")]
        runs = [ids[start : start + size] for start in range(0, len(ids), size)]
        assert len(runs) == 2 * calls
        for run in runs:
            assert [place for _, place in run] == [str(place) for place in range(size)]
            assert len({call for call, _ in run}) == 1
        for store in stores:
            await store.close()

    asyncio.run(scenario())


# A database that goes away ------------------------------------------------------------------------


@NEEDS_POSTGRES
def test_a_restart_of_the_database_is_waited_for(schema):
    async def scenario():
        store = postgres_store(schema, patience=20.0)
        await store.put_response(_record("resp_0", "completed"))
        for number, mode in enumerate(("fast", "immediate"), start=1):
            await asyncio.to_thread(cluster().stop, mode)
            waiting = asyncio.gather(
                store.get_response("resp_0"),
                store.put_response(_record(f"resp_{number}", "completed")),
            )
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await asyncio.to_thread(cluster().start)
            record, _ = await waiting
            assert record is not None
            assert await store.get_response(f"resp_{number}") is not None
        await store.close()

    asyncio.run(scenario())


@NEEDS_POSTGRES
def test_an_outage_is_told_and_what_has_ended_meanwhile_is_written_after_it(schema):
    async def scenario():
        store = postgres_store(schema, patience=0.1, interval=0.05)
        await store.put_response(_record("resp_1", "in_progress"))
        await asyncio.to_thread(cluster().stop)
        try:
            for _ in range(2):
                with pytest.raises(StoreUnreachableError, match="cannot be reached, postgres at"):
                    await store.get_response("resp_1")
            for response_id in ("resp_1", "resp_gone"):
                with pytest.raises(StoreUnreachableError):
                    await store.put_response(_record(response_id, "completed"))
            with pytest.raises(StoreUnreachableError):
                await store.delete_response("resp_gone")
        finally:
            await asyncio.to_thread(cluster().start)

        async def is_written():
            return await _status(store, "resp_1") == "completed"

        await _until(is_written)
        assert await store.get_response("resp_gone") is None
        await store.close()

    asyncio.run(scenario())


@NEEDS_POSTGRES
def test_every_write_happens_once_however_often_the_database_crashes(schema):
    async def scenario():
        store = postgres_store(schema, patience=30.0)
        await store.put_conversation({"id": "conv_1"})
        ended = asyncio.Event()

        async def write() -> int:
            number = 0
            while not ended.is_set():
                await store.add_items("conv_1", [{"id": f"msg_{number}"}])
                number += 1
            return number

        writing = asyncio.create_task(write())
        for pause in (0.05, 0.11, 0.17):
            await asyncio.sleep(pause)
            await asyncio.to_thread(cluster().stop, "immediate")
            await asyncio.to_thread(cluster().start)
        ended.set()
        written = await writing
        ids = [item["id"] for item in await store.get_items("conv_1")]
        assert ids == [f"msg_{number}" for number in range(written)]
        await store.close()

    asyncio.run(scenario())


class _LosesCommits:
    """A connection that is lost as it commits, before that happens or after it."""

    def __init__(self, connection, *, happens: bool) -> None:
        self._connection = connection
        self._happens = happens

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, statement, *rest):
        if statement != "COMMIT":
            return self._connection.execute(statement, *rest)
        if self._happens:
            self._connection.execute("COMMIT")
        self._connection.close()
        raise psycopg.OperationalError("the connection was lost")


class _LosingLink(Link):
    """Its first connections are such."""

    fates: list[bool]

    def connection(self, deadline):
        connection = super().connection(deadline)
        return _LosesCommits(connection, happens=self.fates.pop(0)) if self.fates else connection


@NEEDS_POSTGRES
@pytest.mark.parametrize("fates", [[True], [False], [False, True], [False, False]])
def test_a_commit_that_was_lost_is_made_once(schema, fates):
    asyncio.run(postgres_store(schema).close())
    link = _LosingLink(LinkSettings(PostgresAddress(cluster().url), schema, 7))
    link.fates = list(fates)
    session = PostgresSession(link, writes=True)

    def job(database):
        database.execute("INSERT INTO items (owner, id, is_output) VALUES ('o', 'i', 0)")
        return database.execute("SELECT count(*) FROM items").fetchone()[0]

    assert session.transact([job]) == [1]
    assert link.fates == []
    assert _query(f'SELECT count(*) FROM "{schema}".items') == [(1,)]
    session.close()


def test_what_one_connection_learns_of_an_outage_the_others_know(tmp_path):
    address = PostgresAddress(f"postgresql://u@/db?host={tmp_path}")
    settings = LinkSettings(address, "s", 7, patience=3600.0)
    one, other = Link(settings), Link(settings)
    assert other.deadline() > time.monotonic() + 1800
    with pytest.raises(StoreUnreachableError):
        one.connection(time.monotonic())
    assert other.deadline() <= time.monotonic()


# Tables -------------------------------------------------------------------------------------------


@NEEDS_POSTGRES
def test_servers_that_start_together_make_the_tables_once(schema):
    with ThreadPoolExecutor(6) as threads:
        stores = list(threads.map(lambda _: postgres_store(schema), range(6)))
    assert len({store.shared_key for store in stores}) == 1
    assert _query(f'SELECT count(*) FROM "{schema}".version') == [(1,)]
    for store in stores:
        asyncio.run(store.close())


@NEEDS_POSTGRES
def test_a_newer_store_is_left_alone(schema):
    asyncio.run(postgres_store(schema).close())
    _query(f'UPDATE "{schema}".version SET number = 99')
    with pytest.raises(StoreError, match="version 99"):
        postgres_store(schema)


@NEEDS_POSTGRES
def test_a_database_that_one_may_not_use_is_told():
    address = PostgresAddress(f"{cluster().url}&dbname=nowhere&password=secret-1")
    from ossia.server.store.postgres.store import PostgresStore

    begun = time.monotonic()
    with pytest.raises(StoreError, match="nowhere") as refusal:
        PostgresStore(address, patience=60.0)
    assert time.monotonic() - begun < 30, "it is not an outage"
    assert "secret-1" not in str(refusal.value)


# Addresses ----------------------------------------------------------------------------------------


def test_an_address_is_shown_without_its_password():
    url = "postgresql://me:secret-1@db.lan:5433/ossia?sslmode=require&password=secret-2"
    shown = f"{PostgresAddress(url)} {PostgresAddress(url)!r} {ServerSettings(state_url=url)!r}"
    assert "ossia at db.lan:5433" in shown
    assert "secret" not in shown
    parameters = PostgresAddress(url).parameters
    assert (parameters["user"], parameters["sslmode"]) == ("me", "require")
    assert parameters["connect_timeout"] == 5
    assert PostgresAddress(f"{url}&connect_timeout=9").parameters["connect_timeout"] == "9"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("mysql://u:secret@h/db", id="scheme"),
        pytest.param("host=h password=secret", id="no-url"),
        pytest.param("postgresql://u:secret@secret@h/db", id="at"),
        pytest.param("postgresql://u:se/secret@h/db", id="slash"),
        pytest.param("postgresql://u:se?secret@h/db", id="question-mark"),
        pytest.param("postgresql://u:se#secret@h/db", id="hash"),
        pytest.param("postgresql://u:%zz-secret@h/db", id="percent"),
        pytest.param("postgresql://u:secret@h/db?secret=1", id="parameter"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused_without_repeating_it(url):
    with pytest.raises(ConfigError, match="state URL") as refusal:
        PostgresAddress(url)
    assert "secret" not in str(refusal.value)


def test_without_psycopg_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'ossia\[postgres\]'"):
        open_store(ServerSettings(state_url="postgresql://h/db"))


# A server that is killed --------------------------------------------------------------------------


@NEEDS_POSTGRES
def test_a_response_of_a_server_that_was_killed_is_failed_and_whole():
    settings = json.dumps({"port": 0, "state_url": cluster().url, "aliases": ["m"]})
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, "-m", "support.scripted_server", settings]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    try:
        address = process.stdout.readline().strip()
        question = {"model": "m", "input": "Hi", "seed": 50, "background": True}
        made = httpx2.post(f"{address}/v1/responses", json=question).json()
        seen = httpx2.get(f"{address}/v1/responses/{made['id']}").json()
        assert seen["status"] in ("queued", "in_progress")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()

    async def scenario():
        async def is_failed():
            store = postgres_store("ossia")  # PostgreSQL may take a moment to see that it is alone
            try:
                record = await store.get_response(made["id"])
                assert record.input_items[0]["content"][0]["text"] == "Hi"
                return record.response["status"] == "failed"
            finally:
                await store.close()

        await _until(is_failed)

    asyncio.run(scenario())
