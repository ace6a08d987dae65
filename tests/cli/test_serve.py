"""`ossia serve` as a process, with the demo model."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args
from urllib.request import Request, urlopen

import pytest
from openai import AuthenticationError, NotFoundError, OpenAI

from ossia.cli import options, serve_view
from ossia.cli.output import Output
from ossia.cli.serve_view import ServeView
from ossia.engine import config
from ossia.server.options import serve_options
from support import cpu_kernels

SOURCE = Path(__file__).parents[2] / "src"
QUESTION = [{"role": "user", "content": "What is 2 + 3?"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A running server with a key, and its address."""
    file = tmp_path_factory.mktemp("serve") / "serve.toml"
    file.write_text(
        'aliases = ["openai/gpt-oss-20b"]\nlog_format = "json"\nweb_search = "http://127.0.0.1:1"\n'
    )
    environ = {**os.environ, "PYTHONPATH": str(SOURCE), "OSSIA_SERVE_API_KEYS": "key-1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ossia", "serve", "--port", "0", "--config", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("The model is ready"):
            break
    banner = "".join(lines)
    match = re.search(r"http://127\.0\.0\.1:\d+", banner)
    assert match is not None, banner + process.communicate()[1]
    yield match[0], banner
    # One request of its own: the module's tests are dealt out to several processes.
    models = Request(f"{match[0]}/v1/models", headers={"Authorization": "Bearer key-1"})
    with urlopen(models, timeout=60) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert '"status":200' in log
    assert "2 + 3" not in log


@pytest.fixture
def client(server):
    with OpenAI(base_url=f"{server[0]}/v1", api_key="key-1", timeout=60) as client:
        yield client


def test_the_banner_says_what_to_paste(server):
    address, banner = server
    assert f"serves demo at {address}" in banner
    assert f"curl {address}/v1/chat/completions" in banner
    assert "Authorization: Bearer KEY" in banner
    assert "on cpu" in banner


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({}, "  device auto, as many requests"),
        ({"cpu_weights": "auto"}, "  device auto, CPU weights auto, as many requests"),
        ({"cpu_activations": "int8"}, "  device auto, CPU activations int8, as many requests"),
        ({"kv_dtype": "int8"}, "  device auto, KV cache int8, as many requests"),
        (
            {"fp8_weights": "unembedding,attention"},
            "  device auto, unembedding and attention in 8-bit floats, as many requests",
        ),
        (
            {"fp8_prefill": True},
            "  device auto, long prompts in 8-bit floats, as many requests",
        ),
        ({"deterministic": True}, "  device auto, deterministic, as many requests"),
    ],
)
def test_the_banner_names_a_precision_that_is_not_the_default(capsys, monkeypatch, flags, told):
    monkeypatch.setattr(serve_view, "_show_server_log", lambda: None)  # for a process of its own
    ServeView(Output(), serve_options(flags, environ={})).started("http://127.0.0.1:1")
    assert capsys.readouterr().out.splitlines()[1].startswith(told)


def test_every_dtype_of_the_engine_s_cache_can_be_asked_for():
    assert list(options.KVDtype) == list(get_args(config.KVDtype))


def test_every_choice_of_8_bit_floats_can_be_asked_for():
    assert list(options.Fp8Weights) == list(get_args(config.Fp8Weights))


@pytest.mark.parametrize("name", ["demo", "openai/gpt-oss-20b"])
def test_a_chat(client, name):
    completion = client.chat.completions.create(model=name, messages=QUESTION, temperature=0)
    assert "5" in completion.choices[0].message.content
    assert completion.choices[0].message.reasoning
    assert completion.choices[0].finish_reason == "stop"


def test_the_stream_of_a_chat_is_the_same(client):
    body = {"model": "demo", "messages": QUESTION, "temperature": 0}
    whole = client.chat.completions.create(**body).choices[0].message
    chunks = list(client.chat.completions.create(**body, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.content


def test_a_response(client):
    response = client.responses.create(model="demo", input="What is 2 + 3?", temperature=0)
    assert "5" in response.output_text
    assert client.responses.retrieve(response.id).output_text == response.output_text


def test_a_search_that_is_offered_is_echoed(client):
    tools = [{"type": "web_search"}]
    response = client.responses.create(
        model="demo", input="Hi", tools=tools, max_output_tokens=1, tool_choice="none"
    )
    assert [tool.type for tool in response.tools] == ["web_search"]


def test_a_text_completion_scores_its_prompt(client):
    completion = client.completions.create(
        model="demo", prompt="2 + 3", echo=True, logprobs=1, max_tokens=1
    )
    logprobs = completion.choices[0].logprobs
    assert logprobs.token_logprobs[0] is None
    assert all(value <= 0 for value in logprobs.token_logprobs[1:])
    assert len(logprobs.tokens) == completion.usage.prompt_tokens + 1


def test_other_models_and_keys_are_refused(client):
    with pytest.raises(NotFoundError, match="demo"):
        client.chat.completions.create(model="gpt-5", messages=QUESTION)
    with pytest.raises(AuthenticationError):
        client.with_options(api_key="key-2").models.list()


def test_ossia_chat_talks_to_it(server, ossia, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key-1")
    address = server[0].removeprefix("http://")
    result = ossia("chat", address, "--model-name-or-path", "demo", stdin="What is 2 + 3?\n")
    assert result.exit_code == 0, result.stderr
    assert "5" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--port", "70000"), "0 to 65535"),
        (("--config", "missing.toml"), "missing.toml"),
        (("--api-key", "two words"), "printable ASCII"),
        (("--host", "192.0.2.1"), "cannot be listened on"),
        (("--web-search", "altavista"), "the URL of a SearXNG"),
        (("--port", "0", "--web-search", "exa"), "EXA_API_KEY"),
        (("--max-context", "-1"), "max_context"),
        (("--drain-timeout", "-1"), "drain_timeout is -1.0"),
        (("--allow-origin", "bogus"), "'bogus' is no origin; write it as https://"),
        (("--tls-certificate", "nowhere.pem"), "tls_certificate: nowhere.pem: No such file"),
        (("demo", "--revision", "x"), "revision: is for hub repositories, and demo comes"),
        (("--cpu-weights", "int4"), "'int4' is not one of 'bf16', 'int8', 'auto'"),
        (("--port", "0", "--state-url", "mysql://u:p@h/db"), "must begin with postgresql://"),
    ],
)
def test_nonsense_is_refused_in_a_line(ossia, arguments, told, monkeypatch):
    monkeypatch.delenv("EXA_API_KEY", raising=False)
    result = ossia("serve", *arguments)
    assert result.exit_code != 0
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def _served(model: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What became of a server that is to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "ossia", "serve", model, "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        check=False,
    )


def test_a_model_that_cannot_be_loaded_ends_the_server():
    done = _served("nosuch/model")
    assert done.returncode == 1
    assert "error: the model cannot be served: nosuch/model is no folder" in done.stderr


def test_more_context_than_the_model_has_ends_the_server_before_weights_are_loaded():
    done = _served("random:120b", OSSIA_SERVE_MAX_CONTEXT="999999999")
    assert done.returncode == 1
    assert "max_context is 999,999,999, but the model's context is 131,072 tokens" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_precision_reaches_the_engine_process(dtype):
    """Which rounds a bfloat16 model, and refuses another one."""
    cpu_kernels.needed()
    words = ["--device", "cpu", "--dtype", dtype, "--cpu-activations", "int8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ossia", "serve", "--port", "0", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "OSSIA_SERVE_CPU_WEIGHTS": "int8"},
    )
    assert process.stdout is not None
    banner = ""
    for line in process.stdout:
        banner += line
        if line.startswith("The model is ready"):
            process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=60)
    assert "CPU weights int8, CPU activations int8" in banner
    if dtype == "bfloat16":
        assert process.returncode == 0, log
    else:
        assert process.returncode == 1
        assert "error: the model cannot be served: cpu_weights='int8': " in log
        assert "Traceback" not in log
