"""Spans: what they say of a request, what they do not, and how they reach a collector."""

from __future__ import annotations

import json
import sys
import threading
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from websockets.sync.client import connect

from ossia.errors import ConfigError, MissingDependencyError
from ossia.server.api_error import ApiError
from ossia.server.app import create_app
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from ossia.server.store import SqliteStore
from ossia.server.tracing import setup
from ossia.server.tracing.setup import Tracing
from support.http_server import serving
from support.scripted_service import ScriptedService
from support.waiting import wait_until

_CHAT = {"model": "m", "messages": [{"role": "user", "content": "Tell me secrets"}]}
_TRACE_ID, _PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def _traced(*, prompts: bool = False, **service):
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), prompts=prompts)
    with _served(tracing, **service) as served:
        served.exporter = exporter
        yield served
    tracing.close()


@contextmanager
def _served(tracing: Tracing, **service):
    scripted = ScriptedService(**service)
    state = ServerState(
        settings=ServerSettings(aliases=("m",)),
        service=scripted,
        store=SqliteStore(),
        tracing=tracing,
    )
    with ExitStack() as stack:
        address = stack.enter_context(serving(create_app(state)))
        http = stack.enter_context(httpx2.Client(base_url=f"{address}/v1", timeout=20))
        yield SimpleNamespace(http=http, address=address, service=scripted)


def _spans(served, *names: str) -> list:
    """The spans of these names, once there are as many."""

    def have_come() -> bool:
        return {*names} <= {span.name for span in served.exporter.get_finished_spans()}

    wait_until(have_come)
    by_name = {span.name: span for span in served.exporter.get_finished_spans()}
    return [by_name[name] for name in names]


_NAMES = ("POST /v1/chat/completions", "chat gpt-oss-test", "admission", "prefill", "decode")


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_and_its_answer_go_on_with_the_trace_of_the_client(stream):
    with _traced() as served:
        headers = {"traceparent": f"00-{_TRACE_ID}-{_PARENT_ID}-01", "x-request-id": "mine"}
        body = _CHAT | {"temperature": 0.5, "seed": 3, "max_tokens": 90, "stream": stream}
        assert served.http.post("/chat/completions", json=body, headers=headers).is_success
        request, answer, *parts = _spans(served, *_NAMES)
    assert f"{request.context.trace_id:032x}" == _TRACE_ID
    assert f"{request.parent.span_id:016x}" == _PARENT_ID
    assert request.kind is SpanKind.SERVER
    assert answer.parent.span_id == request.context.span_id
    assert {part.parent.span_id for part in parts} == {answer.context.span_id}

    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["http.route"] == "/v1/chat/completions"
    assert request.attributes["ossia.request_id"] == "mine"
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-oss-test",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 3,
        "gen_ai.request.max_tokens": 90,
        "gen_ai.usage.output_tokens": 16,
        "gen_ai.usage.reasoning.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.response.finish_reasons": ("stop",),
    }
    assert {name: answer.attributes[name] for name in expected} == expected
    assert answer.attributes["gen_ai.usage.input_tokens"] > 50
    assert answer.attributes["gen_ai.response.time_to_first_chunk"] > 0

    times = [answer.start_time, *(part.end_time for part in parts)]
    assert times == sorted(times)
    assert [part.start_time for part in parts] == times[:-1]
    assert times[-1] == answer.end_time


def test_nothing_that_was_said_is_told_unless_asked_for():
    for prompts in (False, True):
        with _traced(prompts=prompts) as served:
            assert served.http.post("/chat/completions", json=_CHAT).is_success
            _spans(served, *_NAMES)
            told = " ".join(span.to_json() for span in served.exporter.get_finished_spans())
        for said in ("Tell me secrets", "Greet.", "Hello there."):
            assert (said in told) == prompts, (said, prompts)
    answer = next(
        span for span in served.exporter.get_finished_spans() if span.name.startswith("chat")
    )
    messages = json.loads(answer.attributes["gen_ai.input.messages"])
    assert messages[-1]["role"] == "user"


def test_text_completions_and_responses_in_the_background_have_spans():
    with _traced() as served:
        body = {"model": "m", "prompt": "2 + 3"}
        assert served.http.post("/completions", json=body).is_success
        (answer,) = _spans(served, "text_completion gpt-oss-test")
        assert answer.attributes["gen_ai.response.finish_reasons"] == ("stop",)
        assert answer.attributes["gen_ai.usage.output_tokens"] > 10
        served.exporter.clear()
        served.http.post("/responses", json={"model": "m", "input": "Hi", "background": True})
        request, answer = _spans(served, "POST /v1/responses", "chat gpt-oss-test")
        assert answer.parent.span_id == request.context.span_id


def test_a_websocket_is_one_span():
    with _traced() as served:
        with connect(served.address.replace("http", "ws") + "/v1/responses") as socket:
            socket.send(json.dumps({"type": "response.create", "model": "m", "input": "Hi"}))
            while json.loads(socket.recv(timeout=20))["type"] != "response.completed":
                pass
        request, answer = _spans(served, "WEBSOCKET /v1/responses", "chat gpt-oss-test")
    assert request.attributes["http.response.status_code"] == 101
    assert answer.parent.span_id == request.context.span_id


def test_refusals_and_failures_are_told_by_a_word():
    with _traced(refuse=ApiError.overloaded("the queue is full")) as served:
        assert served.http.post("/chat/completions", json=_CHAT).status_code == 429
        request, answer, admission = _spans(served, *_NAMES[:3])
        assert answer.attributes["error.type"] == "rate_limit_exceeded"
        assert answer.status.status_code is StatusCode.ERROR
        assert request.status.status_code is StatusCode.UNSET, "it is the client's mistake"
        assert request.attributes["http.response.status_code"] == 429
    assert admission.end_time <= answer.end_time
    with _traced(dies_after=3) as served:
        assert served.http.post("/chat/completions", json=_CHAT).status_code == 500
        request, answer, _ = _spans(served, *_NAMES[:2], "decode")
        assert answer.attributes["error.type"] == "EngineClosedError"
        assert request.status.status_code is StatusCode.ERROR
    with _traced() as served:
        served.http.request("PROPFIND", "/nothing")
        (request,) = _spans(served, "HTTP")
        assert request.attributes["http.request.method"] == "_OTHER"
        assert request.attributes["http.response.status_code"] == 404


def test_a_client_that_goes_away_leaves_its_spans():
    with _traced(stalls_after=5) as served:
        with served.http.stream("POST", "/chat/completions", json=_CHAT | {"stream": True}):
            wait_until(served.service.stalled.is_set)
        _, answer = _spans(served, *_NAMES[:2])
    assert answer.attributes["error.type"] == "cancelled"
    assert "gen_ai.response.finish_reasons" not in answer.attributes


def test_what_the_client_does_not_sample_and_what_watches_the_server_leaves_none():
    with _traced() as served:
        headers = {"traceparent": f"00-{_TRACE_ID}-{_PARENT_ID}-00"}
        assert served.http.post("/chat/completions", json=_CHAT, headers=headers).is_success
        for path in ("/health", "/ready", "/version", "/metrics"):
            assert httpx2.get(served.address + path).is_success
        assert served.http.get("/models").is_success
        _spans(served, "GET /v1/models")
        assert len(served.exporter.get_finished_spans()) == 1


# On the way to a collector ------------------------------------------------------------------------


@contextmanager
def _collector(answers: bool = True):
    """A collector that keeps what it gets; or one that never says a word."""
    got: list = []
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            raw = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.path, dict(self.headers), ExportTraceServiceRequest.FromString(raw)))
            if not answers:
                ended.wait()
                return
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_standard_variables_say_where_spans_go(monkeypatch):
    with _collector() as (address, got):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=us")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "our-models")
        tracing = Tracing()
        with _served(tracing) as served:
            assert served.http.post("/chat/completions", json=_CHAT).is_success
        tracing.close()
        assert [path for path, _, _ in got] == ["/v1/traces"] * len(got)
        assert got[0][1]["x-tenant"] == "us"
        spans = [
            span
            for _, _, sent in got
            for resource in sent.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        assert {span.name for span in spans} == {*_NAMES}
        resource = {
            each.key: each.value.string_value
            for each in got[0][2].resource_spans[0].resource.attributes
        }
        assert resource["service.name"] == "our-models"
        assert resource["service.version"]


def test_nobody_waits_for_a_collector_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(setup, "_LAST_EXPORT", 0.2)
    with _collector(answers=False) as (address, got):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{address}/in")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
        tracing = Tracing()
        with _served(tracing) as served:
            assert served.http.post("/chat/completions", json=_CHAT).is_success
            wait_until(lambda: bool(got))
            assert served.http.post("/chat/completions", json=_CHAT).is_success
        tracing.close()


def test_what_cannot_be_done_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="trace_prompts is of no use without tracing"):
        ServerSettings(trace_prompts=True)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match="http/protobuf only"):
        Tracing()
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'ossia\[tracing\]'"):
        Tracing()
