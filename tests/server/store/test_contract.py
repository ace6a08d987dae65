"""What every store does: against a dictionary, over restarts, kills, time and size."""

import asyncio
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.errors import StoreError
from ossia.server.store import StoredChat, StoredResponse
from support.stores import EVERY_KIND, LASTING_KINDS, Place

TESTS = Path(__file__).parents[2]


def _response(number: int, *, status="completed", outputs=(), size=0) -> dict:
    return {
        "id": f"resp_{number}",
        "status": status,
        "created_at": float(number),
        "output": list(outputs),
        "padding": "x" * size,
    }


def _message(item_id: str, text="hi") -> dict:
    return {"id": item_id, "type": "message", "content": text}


class _Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return _Clock()


@pytest.fixture
def place(kind, tmp_path):
    return Place(kind, tmp_path)


@EVERY_KIND
def test_what_was_written_is_read(place):
    record = StoredResponse(
        response=_response(1, outputs=[_message("msg_out")]),
        input_items=[_message("msg_in"), _message("msg_in_2", "\x00é")],
        previous_response_id="resp_0",
        conversation_id="conv_1",
    )

    async def scenario():
        store = place.open()
        await store.put_response(record)
        assert await store.get_response("resp_1") == record
        assert await store.get_item("msg_in_2") == record.input_items[1]
        assert await store.get_item("msg_out") == record.response["output"][0]
        assert await store.get_item("msg_none") is None
        assert await store.get_response("resp_none") is None
        await store.close()
        with pytest.raises(StoreError, match="closed"):
            await store.get_response("resp_1")

    asyncio.run(scenario())


@EVERY_KIND
def test_a_response_and_what_belongs_to_it_are_written_together_or_not_at_all(place):
    record = StoredResponse(
        response=_response(1, outputs=[_message("msg_out")]),
        input_items=[_message("msg_in")],
        conversation_id="conv_1",
        events=[{"sequence_number": 0}, {"sequence_number": 1}],
        gained=[_message("msg_in"), _message("msg_out")],
    )
    broken = replace(record, gained=[_message("msg_in"), {"type": "an item without an id"}])

    async def held(store):
        items = [item["id"] for item in await store.get_items("conv_1")]
        found = await store.get_response("resp_1")
        return found is not None, len(await store.get_events("resp_1")), items

    async def scenario():
        store = place.open()
        await store.put_conversation({"id": "conv_1", "created_at": 1, "metadata": {}})
        await store.add_items("conv_1", [_message("msg_0")])
        with pytest.raises(KeyError):
            await store.put_response(broken)
        assert await held(store) == (False, 0, ["msg_0"])
        await store.put_response(record)
        assert await held(store) == (True, 2, ["msg_0", "msg_in", "msg_out"])
        await store.close()

    asyncio.run(scenario())


@EVERY_KIND
def test_a_conversation_gains_once_from_a_response_that_is_written_again(place):
    begun = StoredResponse(
        response={"id": "resp_1", "status": "in_progress", "output": []}, conversation_id="conv_1"
    )
    ended = replace(
        begun, response={**begun.response, "status": "completed"}, gained=[_message("msg_1")]
    )

    async def scenario():
        store = place.open()
        await store.put_conversation({"id": "conv_1", "created_at": 1, "metadata": {}})
        for record in (begun, ended, ended):
            await store.put_response(record)
        assert [item["id"] for item in await store.get_items("conv_1")] == ["msg_1"]
        await store.close()

    asyncio.run(scenario())


@EVERY_KIND
def test_events_come_back_from_any_place(place):
    events = [{"sequence_number": number, "type": "x"} for number in range(25)]

    async def scenario():
        store = place.open()
        await store.put_response(StoredResponse(response=_response(1), events=events))
        await store.put_response(StoredResponse(response=_response(2)))
        for after in range(-1, 26):
            assert await store.get_events("resp_1", after) == events[after + 1 :]
        assert await store.get_events("resp_2") == []
        await store.close()

    asyncio.run(scenario())


@EVERY_KIND
def test_a_replayed_item_is_found_in_its_latest_form(place):
    async def scenario():
        store = place.open()
        first = StoredResponse(response=_response(1, outputs=[_message("msg_1", "said")]))
        again = StoredResponse(response=_response(2), input_items=[_message("msg_1", "replayed")])
        await store.put_response(first)
        await store.put_response(again)
        assert (await store.get_item("msg_1"))["content"] == "replayed"
        await store.delete_response("resp_2")
        assert (await store.get_item("msg_1"))["content"] == "said"
        await store.close()

    asyncio.run(scenario())


@EVERY_KIND
def test_conversations_keep_their_items_in_order(place):
    async def scenario():
        store = place.open()
        await store.put_conversation({"id": "conv_1", "created_at": 1, "metadata": {"a": "b"}})
        await store.add_items("conv_1", [_message("msg_1"), _message("msg_2")])
        await store.add_items("conv_1", [_message("msg_3")])
        assert [item["id"] for item in await store.get_items("conv_1")] == [
            "msg_1", "msg_2", "msg_3",
        ]  # fmt: skip
        assert await store.delete_item("conv_1", "msg_2")
        assert not await store.delete_item("conv_1", "msg_2")
        assert [item["id"] for item in await store.get_items("conv_1")] == ["msg_1", "msg_3"]
        assert await store.delete_conversation("conv_1")
        assert not await store.delete_conversation("conv_1")
        assert await store.get_items("conv_1") == []
        assert await store.get_item("msg_1") is None
        await store.close()

    asyncio.run(scenario())


@EVERY_KIND
def test_chats_are_found_by_model_and_metadata(place):
    def chat(number: int, model: str, **metadata: str) -> StoredChat:
        completion = {"id": f"c{number}", "created": number, "model": model, "metadata": metadata}
        return StoredChat(completion=completion, messages=[{"role": "user", "content": "hi"}])

    async def scenario():
        store = place.open()
        records = [chat(1, "a", topic="x"), chat(2, "b", topic="x", who="me"), chat(3, "a")]
        for record in reversed(records):
            await store.put_chat(record)

        async def found(**query):
            return [one["id"] for one in await store.list_chats(**query)]

        assert await found() == ["c1", "c2", "c3"]
        assert await found(model="a") == ["c1", "c3"]
        assert await found(metadata={"topic": "x"}) == ["c1", "c2"]
        assert await found(model="b", metadata={"who": "me"}) == ["c2"]
        assert await store.get_chat("c3") == records[2]
        assert await store.delete_chat("c3")
        assert await store.get_chat("c3") is None
        await store.close()

    asyncio.run(scenario())


@EVERY_KIND
def test_ids_are_data_not_sql(place):
    nasty = "resp_1'; DROP TABLE responses; --"

    async def scenario():
        store = place.open()
        await store.put_response(StoredResponse(response=_response(1) | {"id": nasty}))
        assert (await store.get_response(nasty)).response_id == nasty
        assert await store.get_response("' OR 1=1 --") is None
        assert await store.delete_response(nasty)
        await store.close()

    asyncio.run(scenario())


@LASTING_KINDS
def test_what_is_unfinished_when_a_server_ends_is_failed(place):
    async def scenario():
        store = place.open()
        for number, status in enumerate(("completed", "in_progress", "queued")):
            record = StoredResponse(
                response=_response(number, status=status), input_items=[_message(f"msg_{number}")]
            )
            await store.put_response(record)
        await store.close()
        store = place.open()
        for number, status in enumerate(("completed", "failed", "failed")):
            record = await store.get_response(f"resp_{number}")
            assert record.response["status"] == status
            assert record.input_items == [_message(f"msg_{number}")]
        assert record.response["error"]["code"] == "server_error"
        await store.close()

    asyncio.run(scenario())


@EVERY_KIND
def test_things_expire(place, clock):
    async def scenario():
        store = place.open(ttl=100.0, clock=clock)
        await store.put_response(StoredResponse(response=_response(1)))
        await store.put_conversation({"id": "conv_1"})
        await store.put_chat(
            StoredChat(completion={"id": "c", "created": 1, "model": "m"}, messages=[])
        )
        clock.now += 99.0
        assert await store.get_response("resp_1") is not None
        await store.add_items("conv_1", [_message("msg_1")])  # it is in use, so it lives on
        clock.now += 2.0
        assert await store.get_response("resp_1") is None
        assert await store.get_chat("c") is None
        assert await store.list_chats() == []
        assert await store.get_conversation("conv_1") is not None
        await store.close()

    asyncio.run(scenario())


@LASTING_KINDS
def test_the_oldest_go_when_there_is_too_much(place):
    limit = 4 * 2**20

    async def scenario():
        store = place.open(max_bytes=limit)
        live = StoredResponse(response=_response(0, status="in_progress", size=1000))
        await store.put_response(live)
        for number in range(1, 1025):
            response, events = _response(number, size=20_000), [{"sequence_number": 0}]
            await store.put_response(StoredResponse(response=response, events=events))
        await store.close()
        store = place.open()
        kept = [n for n in range(1, 1025) if await store.get_response(f"resp_{n}") is not None]
        # Upkeep runs every 256 writes, so up to 256 responses may stand beside the limit.
        assert kept == list(range(kept[0], 1025))
        assert 100 < len(kept) < limit // 20_000 + 256
        assert await store.get_response("resp_0") is not None, "it was still being written"
        assert await store.get_events("resp_1") == []
        await store.close()

    asyncio.run(scenario())


@EVERY_KIND
def test_one_bad_write_does_not_spoil_those_beside_it(place):
    async def scenario():
        store = place.open()
        good = [store.put_response(StoredResponse(response=_response(n))) for n in range(50)]
        bad = store.put_response(StoredResponse(response={"id": "resp_bad", "status": {"no": 1}}))
        *results, failure = await asyncio.gather(*good, bad, return_exceptions=True)
        assert results == [None] * 50
        assert isinstance(failure, StoreError)
        assert await store.get_response("resp_bad") is None
        assert all([await store.get_response(f"resp_{n}") for n in range(50)])
        await store.close()

    asyncio.run(scenario())


_KILLED = textwrap.dedent("""
    import asyncio, os, sys
    from ossia.server.store import StoredResponse
    from support.stores import open_from

    async def main():
        store = open_from(*sys.argv[1:])
        async def write(lane):
            number = 0
            while True:
                response = {"id": f"resp_{lane}_{number}", "status": "in_progress", "output": []}
                items = [{"id": f"msg_{lane}_{number}", "text": "x" * 3000}]
                await store.put_response(StoredResponse(response=response, input_items=items))
                done = response | {"status": "completed", "output": [{"id": f"out_{lane}_{number}"}]}
                await store.put_response(StoredResponse(response=done, input_items=items))
                print(response["id"], flush=True)
                number += 1
        await asyncio.gather(*(write(lane) for lane in range(8)))

    asyncio.run(main())
""")


@LASTING_KINDS
@pytest.mark.parametrize("lines", [1, 23, 150])
def test_a_kill_loses_nothing_that_was_acknowledged(place, lines):
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, "-c", _KILLED, *place.arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, env=environ)
    acknowledged = [child.stdout.readline().decode().strip() for _ in range(lines)]
    child.kill()
    acknowledged += child.stdout.read().decode().split()
    child.stdout.close()
    child.wait()

    async def scenario():
        store = place.open(**({"interval": 0.2} if place.kind == "postgres" else {}))
        for response_id in acknowledged:
            record = await store.get_response(response_id)
            assert record.response["status"] == "completed"
            assert len(record.input_items) == 1
        for lane in range(8):  # and what was not is whole or failed
            number = sum(one.startswith(f"resp_{lane}_") for one in acknowledged)
            # A database of its own may go on with the dead process's last words for a moment.
            while (record := await store.get_response(f"resp_{lane}_{number}")) is not None:
                if record.response["status"] in ("completed", "failed"):
                    break
                assert place.kind == "postgres"
                await asyncio.sleep(0.05)
        await store.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))


_IDS = st.sampled_from([f"resp_{number}" for number in range(4)])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _IDS, st.lists(st.sampled_from("abc"), max_size=3)),
        st.tuples(st.just("delete"), _IDS, st.none()),
        st.tuples(st.just("reopen"), st.none(), st.none()),
    ),
    max_size=12,
)


@LASTING_KINDS
@settings(max_examples=25, deadline=None)
@given(steps=_STEPS)
def test_it_is_a_dictionary(tmp_path_factory, kind, steps):
    place = Place(kind, tmp_path_factory.mktemp("store"))

    async def scenario():
        store, model = place.open(), {}
        for step, response_id, inputs in steps:
            if step == "put":
                response = _response(0) | {"id": response_id}
                items = [_message(f"msg_{name}") for name in inputs]
                model[response_id] = StoredResponse(response=response, input_items=items)
                await store.put_response(model[response_id])
            elif step == "delete":
                assert await store.delete_response(response_id) == (response_id in model)
                model.pop(response_id, None)
            else:
                await store.close()
                store = place.open()
            for number in range(4):
                expected = model.get(f"resp_{number}")
                assert await store.get_response(f"resp_{number}") == expected
        await store.close()

    asyncio.run(scenario())
