"""Web search through everything: HTTP, an engine process, a search engine and pages on sockets."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from websockets.sync.client import connect

from ossia.server.app import create_app
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.tools.browser.fetching import PageFetcher
from ossia.tools.browser.searxng import Searxng
from ossia.tools.browser.web import Web
from support.asgi import asgi_client, sent_events
from support.engine_services import run, serving
from support.fake_web import Answer, as_json, fake_web
from support.http_server import serving as serving_http
from support.responses import check_stream
from support.scripted_engine import TOKENIZER
from support.scripted_service import ScriptedService
from support.scripted_web import ScriptedWeb
from support.scripted_worker import Script

SEARCH = '<|channel|>analysis to=browser.search code<|message|>{"query":"otters"}<|call|>'
OPEN = '<|channel|>analysis to=browser.open code<|message|>{"id":0}<|call|>'
FINAL = "<|channel|>final<|message|>They are back【1†L1】.<|return|>"
BODY = {"input": "Hi", "tools": [{"type": "web_search"}]}


@asynccontextmanager
async def _web(fake):
    """The real thing, to which every host is the fake one."""

    async def resolver(host, port):
        del host, port
        return ["127.0.0.1"]

    fetcher = PageFetcher(resolver=resolver, allowed=lambda _: True, ports={fake.port})
    web = Web(Searxng(fake.address), fetcher)
    try:
        yield web
    finally:
        await web.close()


def test_a_search_over_sockets_and_an_engine_process():
    scripts = [TOKENIZER.encode_with_special(one) for one in (SEARCH, OPEN, FINAL)]

    async def main():
        with fake_web() as fake:
            url = f"http://otters.org:{fake.port}/back"
            fake.pages["/search"] = as_json(
                {"results": [{"url": url, "title": "Otters", "content": "Back."}]}
            )
            fake.pages["/back"] = Answer(b"<title>All of it</title><p>They are back.")
            async with (
                _web(fake) as web,
                serving(Script(scripts=scripts, vocabulary=True).command()) as service,
                asgi_client(
                    create_app(ServerState(settings=ServerSettings(), service=service, web=web))
                ) as http,
            ):
                whole = (await http.post("/v1/responses", json=BODY)).json()
                streamed = sent_events(
                    await http.post("/v1/responses", json={**BODY, "stream": True})
                )
        check_stream(streamed)
        for response in (whole, streamed[-1]["response"]):
            search, opened, message = response["output"]
            assert search["action"]["query"] == "otters"
            assert opened["action"]["url"] == url
            assert message["content"][0]["text"] == f"They are back ([otters.org]({url}))."
            (cited,) = message["content"][0]["annotations"]
            assert (cited["url"], cited["title"]) == (url, "All of it")
        assert [one["path"] for one in fake.asked] == ["/search", "/back"] * 2
        assert fake.asked[1]["host"] == f"otters.org:{fake.port}"

    run(main())


def test_the_engine_dying_during_a_search_fails_the_response():
    """There is no engine to go on with; what was found is still there."""
    scripts = [TOKENIZER.encode_with_special(SEARCH)]

    async def main():
        web = ScriptedWeb(stalls=True)
        async with serving(Script(scripts=scripts, vocabulary=True).command()) as service:
            state = ServerState(settings=ServerSettings(), service=service, web=web)
            async with asgi_client(create_app(state)) as http:
                asked = asyncio.create_task(
                    http.post("/v1/responses", json={**BODY, "stream": True})
                )
                await web.stalled.wait()
                await service.close()
                web.go_on.set()
                events = sent_events(await asked)
        check_stream(events)
        assert events[-1]["type"] == "response.failed"
        assert events[-1]["response"]["output"][0]["status"] == "completed"

    run(main())


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_search_over_a_websocket(goes_on):
    """A response that is stored nowhere is gone on from, with what its search has found."""
    look = "<|channel|>commentary to=functions.look <|constrain|>json<|message|>{}<|call|>"
    service = ScriptedService(SEARCH, OPEN, *([look] if goes_on else []), FINAL)
    state = ServerState(settings=ServerSettings(), service=service, web=ScriptedWeb())
    tools = [*BODY["tools"], {"type": "function", "name": "look"}]
    with (
        serving_http(create_app(state)) as address,
        connect(address.replace("http", "ws") + "/v1/responses") as socket,
    ):

        def ask(**body):
            socket.send(json.dumps({"type": "response.create", "store": False, **body}))
            events = []
            while not events or events[-1]["type"] not in ("response.completed", "error"):
                events.append(json.loads(socket.recv(timeout=20)))
            check_stream(events)
            assert "ossia_step" not in str(events)
            return events[-1]["response"]

        response = ask(input="Hi", tools=tools)
        if goes_on:
            output = {
                "type": "function_call_output",
                "call_id": response["output"][-1]["call_id"],
                "output": "7",
            }
            response = ask(input=[output], tools=tools, previous_response_id=response["id"])
        (cited,) = response["output"][-1]["content"][0]["annotations"]
        assert cited["url"] == "https://otters.org/back"
