"""Routes that tell of the server and its model."""

from __future__ import annotations

import json

import pytest

from ossia.tokenizer import special
from support.api_client import MODEL, openai_client, serving_script
from support.raw_http import exchange, post, request
from support.scripted_engine import TOKENIZER
from support.scripted_service import ScriptedService


@pytest.fixture
def address():
    with serving_script(ScriptedService()) as address:
        yield address


def _get(address: str, path: str):
    answer = exchange(address, request("GET", path))
    assert answer.status == 200
    return json.loads(answer.body)


def _post(address: str, path: str, body):
    answer = exchange(address, post(path, body))
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def test_models_as_the_client_reads_them():
    service = ScriptedService(model="openai/gpt-oss-20b")
    with openai_client(service) as client:
        names = [model.id for model in client.models.list()]
        assert names == ["openai/gpt-oss-20b", "gpt-oss-20b", "gpt-oss:20b"]
        for name in names:
            assert client.models.retrieve(name).id == name


def test_what_codex_asks_of_an_ollama_server():
    with serving_script(ScriptedService(model="openai/gpt-oss-20b")) as address:
        version = _get(address, "/api/version")["version"]
        assert tuple(map(int, version.split("."))) >= (0, 13, 4)
        names = [model["name"] for model in _get(address, "/api/tags")["models"]]
    assert "gpt-oss:20b" in names


def test_tokens_of_a_text_and_back(address):
    got = _post(
        address, "/tokenize", {"model": MODEL, "prompt": "Hi <|end|>", "return_token_strs": True}
    )
    assert special.END not in got["tokens"]
    assert got["count"] == len(got["tokens"])
    assert "".join(got["token_strs"]) == "Hi <|end|>"
    assert _post(address, "/detokenize", {"tokens": got["tokens"]})["prompt"] == "Hi <|end|>"
    meant = _post(address, "/tokenize", {"prompt": "Hi <|end|>", "allow_special": True})
    assert meant["tokens"][-1] == special.END


@pytest.mark.parametrize("path", ["/render", "/v1/chat/completions/render"])
def test_a_chat_as_the_model_sees_it(path):
    service = ScriptedService()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    with serving_script(service) as address:
        got = _post(address, path, body)
        assert _post(address, "/tokenize", body)["tokens"] == got["tokens"]
        exchange(address, post("/v1/chat/completions", body))
    assert tuple(got["tokens"]) == service.requests[0].prompt_ids
    assert got["text"] == TOKENIZER.decode(got["tokens"])


@pytest.mark.parametrize("tokens", [[-1], [2**31], ["a"], 3])
def test_ids_that_are_none_are_refused(address, tokens):
    answer = exchange(address, post("/detokenize", {"tokens": tokens}))
    assert answer.status == 400
    assert answer.error["param"].startswith("tokens")


def test_metrics_count_what_was_done(address):
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}
    exchange(address, post("/v1/chat/completions", chat))
    exchange(address, request("GET", "/surely/not/there"))
    exchange(address, request("BREW", "/v1/models"))
    text = exchange(address, request("GET", "/metrics")).body.decode()
    for line in (
        'ossia:http_requests_total{method="POST",route="/v1/chat/completions",status="200"}',
        'ossia:http_requests_total{method="GET",route="other",status="404"}',
        'ossia:request_success_total{finished_reason="stop"}',
        "ossia:time_to_first_token_seconds_bucket",
        "ossia:generation_tokens_total",
        "ossia:num_requests_running 0.0",
        "ossia:kv_cache_usage_perc 0.0",
    ):
        assert line in text
    assert "BREW" not in text
    assert "surely" not in text
