"""A load on scripted servers: what is sent, what comes back, and every way to fail."""

from __future__ import annotations

import asyncio
import ssl
import time

import pytest

from ossia.bench.load_metrics import LoadMetrics
from ossia.bench.request_timing import RequestTiming
from ossia.bench.serve.asking import Api, Asker, parse_api, tls_for
from ossia.bench.serve.driving import drive
from ossia.bench.serve.exchange import Target
from ossia.bench.serve.workload import Question
from ossia.errors import RequestError, ServerError
from support.certificates import self_signed
from support.scripted_api import (
    DONE,
    Scripted,
    ScriptedApi,
    chat_event,
    scripted_api,
    sse,
    text_event,
    usage_event,
)

QUESTION = Question(" two words", 2, 5, 0.0)
SOUND = Scripted(
    [text_event("a"), text_event("b c d"), text_event("e", "length"), usage_event(2, 5), DONE]
)


def asker(server: ScriptedApi, **changes) -> Asker:
    given = {"target": Target(server.address), "model": "m"}
    return Asker(**given | changes)


def ask(server: ScriptedApi, **changes) -> RequestTiming:
    (timing,), _ = drive(asker(server, **changes), [QUESTION])
    return timing


def test_several_tokens_in_an_event_are_one_piece():
    with scripted_api(SOUND) as api:
        timing = ask(api)
    assert timing.error is None
    assert (timing.input_tokens, timing.output_tokens) == (2, 5)
    assert len(timing.pieces) == 3
    assert timing.pieces == sorted(timing.pieces)
    assert timing.started < timing.pieces[0]
    found = LoadMetrics.of([timing], 1.0)
    assert found.tokens_per_piece == pytest.approx(5 / 3)
    assert timing.tpot == pytest.approx((timing.pieces[-1] - timing.pieces[0]) / 4)


def test_what_a_server_is_asked():
    with scripted_api(SOUND) as api:
        ask(api)
        ask(api, api=Api.CHAT, ignore_eos=True, target=Target(api.address, "secret"))
    (path, body, headers), (chat_path, chat_body, chat_headers) = api.asked
    assert path == "/v1/completions"
    assert body == {
        "model": "m",
        "prompt": " two words",
        "max_tokens": 5,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert "authorization" not in headers
    assert headers["host"] == api.address.split("/")[2]
    assert chat_path == "/v1/chat/completions"
    assert chat_body["messages"] == [{"role": "user", "content": " two words"}]
    assert chat_body["ignore_eos"] is True
    assert "prompt" not in chat_body
    assert chat_headers["authorization"] == "Bearer secret"


def test_a_chat_counts_its_reasoning_and_not_its_role():
    events = [
        chat_event(role="assistant", content=""),
        chat_event(reasoning="Hm"),
        chat_event(content="Yes"),
        chat_event(finish_reason="stop"),
        usage_event(70, 4),
    ]
    with scripted_api(Scripted(events)) as api:
        timing = ask(api, api=Api.CHAT)
    assert timing.error is None
    assert len(timing.pieces) == 2
    assert (timing.input_tokens, timing.output_tokens) == (70, 4)


def test_tokens_that_a_server_does_not_count_are_counted_here():
    with scripted_api(Scripted([text_event(" two"), text_event(" words", "stop"), DONE])) as api:
        timing = ask(api)
    assert (timing.input_tokens, timing.output_tokens) == (2, 2)


@pytest.mark.parametrize("chunked", [True, False])
def test_bodies_end_by_chunks_or_with_the_connection(chunked: bool):
    with scripted_api(Scripted(SOUND.events, chunked=chunked)) as api:
        timing = ask(api)
    assert (timing.error, timing.output_tokens) == (None, 5)


def test_an_announcement_is_not_the_answer():
    body = text_event("a", "stop") + DONE
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    with scripted_api(Scripted(raw=raw + body)) as api:
        timing = ask(api)
    assert (timing.error, len(timing.pieces)) == (None, 1)


def test_an_answer_without_text_is_none_that_failed():
    with scripted_api(Scripted([usage_event(2, 3), DONE])) as api:
        timing = ask(api)
    assert (timing.error, timing.output_tokens, timing.pieces) == (None, 3, [])
    assert LoadMetrics.of([timing], 1.0).ttft_ms is None


FAILURES = {
    "answered 503: busy": Scripted(status=503, body=b'{"error": {"message": "busy"}}'),
    "answered 500: oh no": Scripted(status=500, body=b"oh no"),
    "answered 404: nothing more": Scripted(status=404, body=b""),
    "told of an error: out of pages": Scripted(
        [text_event("a"), sse({"error": {"message": "out of pages"}}), DONE]
    ),
    "broke off in the middle of the answer": Scripted([text_event("a")], end="cut"),
    "sent no event stream": Scripted([b'{"choices": []}']),
    "no end within 0.2 seconds": Scripted([text_event("a")], end="stall"),
    "sent an event that is no object of JSON: b'[]'": Scripted([b"data: []\n\n"]),
    "closed the connection without an answer": Scripted(raw=b""),
    "sent what is no HTTP": Scripted(raw=b"SSH-2.0-OpenSSH\r\n\r\n"),
}


@pytest.mark.parametrize("why", FAILURES)
def test_failures_are_noted_and_the_rest_goes_on(why: str):
    with scripted_api(FAILURES[why], SOUND) as api:
        timings, seconds = drive(
            asker(api, timeout=0.2), [QUESTION, QUESTION, QUESTION], max_concurrency=1
        )
    failed, *sound = timings
    assert failed.error is not None
    assert failed.error.startswith(why)
    assert [one.error for one in sound] == [None, None]
    found = LoadMetrics.of(timings, seconds)
    assert (found.completed, found.failed) == (2, 1)
    assert found.output_tokens == 10
    assert list(found.errors) == [failed.error]


def test_a_server_that_is_not_there():
    nowhere = Asker(target=Target("http://127.0.0.1:9/v1"), model="m")
    (timing,), _ = drive(nowhere, [QUESTION])
    assert timing.error is not None
    assert "cannot be reached" in timing.error


def test_a_warm_up_that_fails_ends_it_before_it_begins():
    with scripted_api(Scripted(status=401, body=b'{"detail": "no key"}')) as api:
        with pytest.raises(ServerError, match=f"{api.address} answered 401: no key"):
            drive(asker(api), [QUESTION] * 3, warm_ups=[QUESTION])
        assert len(api.asked) == 1


def test_warm_ups_are_not_counted():
    told: list[str] = []
    with scripted_api(SOUND) as api:
        timings, _ = drive(asker(api), [QUESTION] * 2, warm_ups=[QUESTION] * 3, tell=told.append)
        assert len(api.asked) == 5
    assert len(timings) == 2
    assert told == ["1 of 2 requests ended", "2 of 2 requests ended"]


@pytest.mark.parametrize(("limit", "most"), [(None, 12), (3, 3), (1, 1)])
def test_no_more_than_wanted_are_open_and_as_many(limit: int | None, most: int):
    with scripted_api(SOUND, together=most) as api:
        timings, _ = drive(asker(api), [QUESTION] * 12, max_concurrency=limit)
    assert all(one.error is None for one in timings)
    assert api.most_open == most
    with pytest.raises(RequestError, match=r"^max-concurrency: "):
        drive(asker(api), [], max_concurrency=0)


def test_nothing_is_sent_before_its_time():
    class Clocked(Asker):
        async def ask(self, question: Question) -> RequestTiming:
            await asyncio.sleep(0)
            return RequestTiming(started=time.perf_counter(), input_tokens=0)

    clocked = Clocked(target=Target("http://x/v1"), model="m")
    questions = [Question("", 0, 1, at) for at in (0.0, 0.05, 0.05, 0.12)]
    before = time.perf_counter()
    timings, seconds = drive(clocked, questions)
    for timing, question in zip(timings, questions, strict=True):
        assert timing.started - before >= question.at - 0.002  # timers count milliseconds
    assert seconds >= 0.118


def test_https_is_checked(tmp_path):
    certificate, key = self_signed(tmp_path)
    mine = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    mine.load_cert_chain(certificate, key)
    with scripted_api(SOUND, tls=mine) as api:
        trusting = ssl.create_default_context(cafile=str(certificate))
        assert ask(api, tls=trusting).error is None
        refused = ask(api, tls=tls_for(api.address)).error
    assert refused is not None
    assert "certificate verify failed" in refused


def test_apis_timeouts_and_certificates():
    assert parse_api("chat") is Api.CHAT
    with pytest.raises(RequestError, match=r"^api: 'responses' is not one of completions, chat"):
        parse_api("responses")
    with pytest.raises(RequestError, match=r"^timeout: "):
        Asker(target=Target("http://x"), model="m", timeout=0)
    assert tls_for("http://x") is None
    context = tls_for("https://x")
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
