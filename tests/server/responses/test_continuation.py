"""Going on from what was stored, over the real store."""

from __future__ import annotations

import asyncio

import pytest

from ossia.errors import StoreError
from ossia.server.api_error import ApiError
from ossia.server.responses.fold import ResponseFold
from ossia.server.responses.intake import take_in
from ossia.server.responses.keeping import as_listed
from ossia.server.responses.live import Live
from ossia.server.responses.running import fold_of, start
from ossia.server.responses.schemas import ResponseRequest
from ossia.server.store import SqliteStore
from support.responses import around

THINK = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
HELLO = THINK + "<|channel|>final<|message|>Hello<|return|>"
CALL = THINK + "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"
F = {"type": "function", "name": "f"}


def scenario(*scripts, reasoning="raw"):
    """Runs a test with a store, and a function that asks and waits for the response."""

    def run(test):
        async def with_store():
            store = SqliteStore(None)
            surroundings = around(*scripts, reasoning=reasoning, store=store)

            async def ask(**body):
                live, _ = await start(ResponseRequest(**body), surroundings)
                await live.finished()
                return live.fold.response

            try:
                await test(ask, store, surroundings.service)
            finally:
                await store.close()

        asyncio.run(with_store())

    return run


def _prompt(service):
    return service.tokenizer.decode(service.requests[-1].prompt_ids)


def test_a_chain_of_responses_is_one_conversation_and_instructions_are_not_carried_over():
    async def test(ask, store, service):
        first = await ask(input="One", instructions="Be brief.")
        second = await ask(input="Two", previous_response_id=first["id"], instructions="Rhyme.")
        third = await ask(input="Three", previous_response_id=second["id"])
        assert third["previous_response_id"] == second["id"]
        prompt = _prompt(service)
        places = [prompt.index(text) for text in ("One", "Two", "Three")]
        assert places == sorted(places)
        assert prompt.count("Hello") == 2
        assert "brief" not in prompt
        assert "Rhyme" not in prompt
        assert "Hm." not in prompt

    scenario(HELLO)(test)


@pytest.mark.parametrize("reasoning", ["raw", "hidden"])
def test_reasoning_before_a_call_is_there_when_its_output_comes(reasoning):
    async def test(ask, store, service):
        first = await ask(input="One", tools=[F])
        assert ("Hm." in str(first)) == (reasoning == "raw")
        call = first["output"][-1]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "7"}
        await ask(input=[output], previous_response_id=first["id"], tools=[F])
        assert "<|channel|>analysis<|message|>Hm.<|end|>" in _prompt(service)
        assert "functions.f to=assistant<|channel|>commentary<|message|>7<|end|>" in _prompt(
            service
        )
        with pytest.raises(ApiError, match="No tool output found for function call"):
            await ask(input="Two", previous_response_id=first["id"], tools=[F])

    scenario(CALL, HELLO, reasoning=reasoning)(test)


def test_a_kept_response_is_the_one_that_was_given():
    async def test(ask, store, service):
        del service
        given = await ask(input="One", metadata={"a": "b"})
        record = await store.get_response(given["id"])
        assert record.response == given
        assert record.input_items[0]["content"] == [{"type": "input_text", "text": "One"}]
        assert await store.get_item(given["output"][1]["id"]) == given["output"][1]

    scenario(HELLO)(test)


def test_hidden_reasoning_is_not_listed_unless_it_is_asked_for_sealed():
    async def test(ask, store, service):
        del service
        given = await ask(input="One")
        kept = (await store.get_response(given["id"])).response
        assert as_listed(kept, sealed=False) == given
        assert as_listed(kept, sealed=True)["output"][0]["encrypted_content"]

    scenario(HELLO, reasoning="hidden")(test)


def test_what_is_not_to_be_stored_is_not():
    async def test(ask, store, service):
        del service
        given = await ask(input="One", store=False)
        assert given["store"] is False
        assert await store.get_response(given["id"]) is None
        with pytest.raises(ApiError) as caught:
            await ask(input="Two", previous_response_id=given["id"])
        assert caught.value.code == "previous_response_not_found"
        assert caught.value.param == "previous_response_id"

    scenario(HELLO)(test)


def test_a_conversation_grows_by_what_is_completed():
    async def test(ask, store, service):
        await store.put_conversation({"id": "conv_1", "created_at": 1, "metadata": {}})
        first = await ask(input="One", conversation="conv_1")
        assert first["conversation"] == {"id": "conv_1"}
        await ask(input="Cut", conversation={"id": "conv_1"}, max_output_tokens=2)
        second = await ask(input="Two", conversation={"id": "conv_1"})
        assert "Cut" not in _prompt(service)
        assert "One" in _prompt(service)
        items = await store.get_items("conv_1")
        assert [item["type"] for item in items] == ["message", "reasoning", "message"] * 2
        # A response of a conversation can be gone on from, too.
        await ask(input="Three", previous_response_id=second["id"])
        prompt = _prompt(service)
        places = [prompt.index(text) for text in ("One", "Two", "Three")]
        assert places == sorted(places)
        assert prompt.count("Two") == 1

    scenario(HELLO)(test)


def test_an_unknown_conversation_is_not_found():
    async def test(ask, store, service):
        del store, service
        with pytest.raises(ApiError) as caught:
            await ask(input="One", conversation="conv_2")
        assert (caught.value.status, caught.value.param) == (404, "conversation")

    scenario(HELLO)(test)


def test_a_response_that_still_runs_cannot_be_gone_on_from():
    async def test(ask, store, service):
        del service
        given = await ask(input="One")
        record = await store.get_response(given["id"])
        record.response["status"] = "in_progress"
        await store.put_response(record)
        with pytest.raises(ApiError, match="has not ended yet"):
            await ask(input="Two", previous_response_id=given["id"])

    scenario(HELLO)(test)


def test_a_store_that_fails_costs_nobody_the_answer():
    async def test(ask, store, service):
        del service

        async def full(record):
            raise StoreError("disk full")

        store.put_response = full
        assert (await ask(input="One"))["status"] == "completed"

    scenario(HELLO)(test)


def test_a_response_is_stored_before_its_end_is_told():
    async def test():
        told = []
        surroundings = around(HELLO)
        intake = await take_in(ResponseRequest(input="One"), surroundings)
        fold = fold_of(intake, surroundings)

        async def slowly(fold):
            await asyncio.sleep(0.05)
            told.append(fold.response["status"])

        live = Live(await surroundings.service.answer(intake.question), fold, slowly)
        async for batch in live.batches():
            told += [event["type"] for event in batch]
        assert told.index("completed") < told.index("response.completed")

    asyncio.run(test())


def test_closing_closes_an_answer_that_has_not_begun():
    class Events:
        closed = False

        async def aclose(self):
            self.closed = True

    async def test():
        events = Events()
        live = Live(events, ResponseFold({}))
        await live.close()
        assert events.closed
        assert live.fold.response["status"] == "cancelled"

    asyncio.run(test())


def test_a_stored_response_is_there_when_its_end_is_told():
    async def test(ask, store, service):
        del ask
        surroundings = around(HELLO, store=store)
        live, _ = await start(ResponseRequest(input="One"), surroundings)
        stored_at_end = None
        async for batch in live.batches():
            for event in batch:
                if event["type"] == "response.completed":
                    stored_at_end = await store.get_response(event["response"]["id"])
        assert stored_at_end is not None

    scenario(HELLO)(test)


def test_closing_waits_for_what_has_ended_to_be_stored():
    async def test():
        told = []
        surroundings = around(HELLO)
        intake = await take_in(ResponseRequest(input="One"), surroundings)
        storing = asyncio.Event()

        async def slowly(fold):
            storing.set()
            await asyncio.sleep(0.05)
            told.append(f"stored {fold.response['status']}")

        events = await surroundings.service.answer(intake.question)
        fold = fold_of(intake, surroundings)
        live = Live(events, fold, slowly, release=lambda: told.append("released"))
        await storing.wait()
        await live.close()
        assert told[:2] == ["stored completed", "released"]

    asyncio.run(test())


def test_an_end_that_cannot_be_stored_is_told_all_the_same():
    async def test(ask, store, service):
        del ask
        surroundings = around(HELLO, store=store)
        making, _ = await start(ResponseRequest(input="One", stream=True), surroundings)

        async def broken(record):
            raise TypeError("a defect")

        store.put_response = broken
        async with asyncio.timeout(20):
            told = [event["type"] async for batch in making.batches() for event in batch]
        assert told[-1] == "response.completed"
        await making.close()
        assert len(surroundings.active) == 0

    scenario(HELLO)(test)


def test_a_response_whose_beginning_is_given_up_does_not_stay_unfinished():
    async def test(ask, store, service):
        del ask, service
        surroundings = around(HELLO, store=store)
        put, records, written = store.put_response, [], asyncio.Event()

        async def slow_at_first(record):
            await put(record)
            records.append(record)
            if not written.is_set():
                written.set()
                await asyncio.sleep(60)

        store.put_response = slow_at_first
        body = ResponseRequest(input="One", stream=True)
        beginning = asyncio.create_task(start(body, surroundings))
        await written.wait()
        beginning.cancel()
        await asyncio.wait({beginning})
        assert beginning.cancelled()
        record = await store.get_response(records[0].response_id)
        assert record.response["status"] not in ("queued", "in_progress")

    scenario(HELLO)(test)
