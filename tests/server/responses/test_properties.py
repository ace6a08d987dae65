"""What holds of every response, whatever the model writes and however it ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.server.app import create_app
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from ossia.types import FinishReason
from support.asgi import asgi_client, sent_events
from support.model_outputs import likely_outputs
from support.responses import check_stream, without_ids
from support.scripted_service import ScriptedService

TOOLS = [
    {
        "type": "function",
        "name": "lookup",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
    },
    {"type": "custom", "name": "shell"},
]
bodies = st.fixed_dictionaries(
    {"input": st.just("Hi")},
    optional={
        "tools": st.just(TOOLS),
        "include": st.just(["message.output_text.logprobs", "reasoning.encrypted_content"]),
        "reasoning": st.just({"summary": "auto"}),
        "max_output_tokens": st.integers(1, 30),
        "stop": st.just(["Hi"]),
        "background": st.just(True),
    },
)
manners = st.one_of(
    st.just({}),
    st.just({"pause": 0.0}),  # no two tokens are ready together
    st.integers(0, 20).map(lambda count: {"dies_after": count}),
    st.sampled_from([FinishReason.ERROR, FinishReason.DEADLINE]).map(lambda end: {"ends": end}),
)


@asynccontextmanager
async def _serving(output, manners, reasoning="raw"):
    """A server whose every request gets this output, and a client of it."""
    store = SqliteStore()
    service = ScriptedService(output, **manners)
    state = ServerState(settings=ServerSettings(reasoning=reasoning), service=service, store=store)
    async with asgi_client(create_app(state)) as http:
        yield SimpleNamespace(http=http, state=state, service=service)
    await store.close()


async def _whole(served, body):
    """The response without a stream, or the error in its place."""
    answer = await served.http.post("/v1/responses", json=body)
    if answer.status_code != 200:
        return answer.json()
    response = answer.json()
    wanted = {"include[]": body.get("include", [])}
    while response["status"] in ("queued", "in_progress"):
        await asyncio.sleep(0)
        path = f"/v1/responses/{response['id']}"
        response = (await served.http.get(path, params=wanted)).json()
    return response


async def _stream(served, body):
    return sent_events(await served.http.post("/v1/responses", json={**body, "stream": True}))


async def _got(served, response):
    return (await served.http.get(f"/v1/responses/{response['id']}")).json()


@settings(max_examples=60, deadline=None)
@given(likely_outputs, bodies, manners, st.sampled_from(["raw", "summary", "both", "hidden"]))
def test_streamed_is_what_comes_whole_and_what_is_kept(output, body, manners, reasoning):
    async def run():
        async with _serving(output, manners, reasoning) as served:
            whole = await _whole(served, body)
            events = await _stream(served, body)
            check_stream(events)
            streamed = events[-1]["response"]
            assert await _got(served, streamed) == _as_kept(streamed)
            if "error" in whole and "id" not in whole:
                assert streamed["status"] == "failed"
                assert streamed["error"]["message"] == whole["error"]["message"]
            else:
                assert await _got(served, whole) == _as_kept(whole)
                assert without_ids(streamed) == without_ids(whole)
            assert served.service.running == 0

    asyncio.run(run())


@settings(max_examples=40, deadline=None)
@given(likely_outputs, bodies, manners)
def test_resuming_behind_every_event_gives_the_rest(output, body, manners):
    async def run():
        async with _serving(output, manners) as served:
            events = await _stream(served, body)
            path = f"/v1/responses/{events[0]['response']['id']}?stream=true"
            assert sent_events(await served.http.get(path)) == events
            for after in range(len(events)):
                tail = sent_events(await served.http.get(f"{path}&starting_after={after}"))
                assert tail == events[after + 1 :]

    asyncio.run(run())


@settings(max_examples=15, deadline=None)
@given(likely_outputs.filter(bool), bodies, st.data())
def test_resuming_while_it_is_made_gives_the_rest(output, body, data):
    """Followers that join at a stalled token get what a client from the start gets."""
    stall = data.draw(st.integers(0, len(output) - 1), label="stalls after")
    after = data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=4), label="joins behind")

    async def run():
        async with _serving(output, {"stalls_after": stall}) as served:
            first = asyncio.create_task(_stream(served, {**body, "background": True}))
            while not served.state.active._broadcasts:  # noqa: ASYNC110 - a turn or two
                await asyncio.sleep(0)
            (response_id,) = served.state.active._broadcasts
            path = f"/v1/responses/{response_id}?stream=true&starting_after="
            others = [asyncio.create_task(served.http.get(f"{path}{place}")) for place in after]
            for _ in range(20):
                await asyncio.sleep(0)
            served.service.go_on.set()
            events = await first
            for place, other in zip(after, others, strict=True):
                assert sent_events(await other) == events[place + 1 :]

    asyncio.run(run())


def _as_kept(response):
    """A response as GET gives it: sealed reasoning only to those who ask for it there."""
    output = [
        {name: value for name, value in item.items() if name != "encrypted_content"}
        for item in response["output"]
    ]
    return {**response, "output": output}
