"""What holds of every chat completion, whatever the model writes and however it ends."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

from hypothesis import example, given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ossia.server.app import create_app
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from ossia.types import FinishReason
from support.asgi import asgi_client, sent_events
from support.model_outputs import likely_outputs
from support.responses import without_ids
from support.scripted_engine import TOKENIZER
from support.scripted_service import HELLO, ScriptedService

LOOKUP = {
    "type": "function",
    "function": {
        "name": "lookup",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
    },
}
HI = {"messages": [{"role": "user", "content": "Hi"}]}
bodies = st.fixed_dictionaries(
    {name: st.just(value) for name, value in HI.items()},
    optional={
        "tools": st.just([LOOKUP]),
        "logprobs": st.just(True),
        "max_completion_tokens": st.integers(1, 30),
        "stop": st.just(["Hi"]),
        "n": st.just(2),
    },
)
manners = st.one_of(
    st.just({}),
    st.just({"pause": 0.0}),  # no two tokens are ready together
    st.integers(0, 20).map(lambda count: {"dies_after": count}),
    st.sampled_from([FinishReason.ERROR, FinishReason.DEADLINE]).map(lambda end: {"ends": end}),
)


@asynccontextmanager
async def _client(output, manners):
    store = SqliteStore()
    service = ScriptedService(output, **manners)
    state = ServerState(settings=ServerSettings(), service=service, store=store)
    async with asgi_client(create_app(state)) as http:
        yield http
    assert service.running == 0
    await store.close()


async def _stream(http, body):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return sent_events(await http.post("/v1/chat/completions", json={**body, **options}))


def _accumulated(chunks):
    """What the client's own helper makes of a stream; it asserts a lot on its way."""
    state = ChatCompletionStreamState(input_tools=[])
    for chunk in chunks:
        list(state.handle_chunk(ChatCompletionChunk.model_validate(chunk, strict=True)))
    return state.current_completion_snapshot


def _told(completion):
    """The parts of a completion that hold what the model said, absent ones as empty."""
    told = []
    for choice in completion["choices"]:
        message = choice["message"]
        calls = [
            {"id": call["id"], "type": call["type"]}
            | {name: call["function"][name] for name in ("name", "arguments")}
            for call in message.get("tool_calls") or []
        ]
        told.append(
            {
                "content": message.get("content") or "",
                "reasoning": [message.get("reasoning"), message.get("reasoning_content")],
                "calls": calls,
                "finish_reason": choice["finish_reason"],
                "logprobs": (choice.get("logprobs") or {}).get("content") or [],
            }
        )
    return without_ids(told)


@settings(max_examples=80, deadline=None)
@given(likely_outputs, bodies, manners)
@example(TOKENIZER.encode_with_special(HELLO), {**HI, "logprobs": True}, {})
def test_the_accumulator_makes_of_a_stream_what_comes_whole_and_what_is_kept(output, body, manners):
    async def run():
        async with _client(output, manners) as http:
            answer = await http.post("/v1/chat/completions", json={**body, "store": True})
            events = await _stream(http, body)
            if answer.status_code != 200:
                *_, last = events
                assert last["error"]["message"] == answer.json()["error"]["message"]
                return
            whole = answer.json()
            ChatCompletion.model_validate(whole, strict=True)
            folded = json.loads(_accumulated(events).to_json())
            assert _told(folded) == _told(whole)
            assert folded["usage"] == whole["usage"]
            kept = await http.get(f"/v1/chat/completions/{whole['id']}")
            assert kept.json() == whole

    asyncio.run(run())


@settings(max_examples=30, deadline=None)
@given(likely_outputs, bodies)
def test_chunks_keep_one_identity_and_end_each_choice_once(output, body):
    async def run():
        async with _client(output, {}) as http:
            events = await _stream(http, body)
        assert len({(one["id"], one["created"], one["model"]) for one in events}) == 1
        *chunks, last = events
        assert last["choices"] == []
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        for index in range(body.get("n", 1)):
            own = [choice for choice in choices if choice["index"] == index]
            assert own[0]["delta"]["role"] == "assistant"
            reasons = [choice["finish_reason"] for choice in own]
            assert reasons[-1] is not None
            assert not any(reasons[:-1])

    asyncio.run(run())
