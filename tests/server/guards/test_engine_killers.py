"""Requests that have killed other servers' engines, sent to a real one: it answers the next."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from support.raw_http import exchange, post, request
from support.serve_process import ServerProcess, started

ASKED = {"model": "tiny", "input": "Hi", "max_output_tokens": 4}
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    """A server of its own."""
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "ossia", "serve", "random:tiny", "--served-name", "tiny",
               "--port", "0", "--max-context",
        "8192",
        "--state-folder", str(folder / "state")]  # fmt: skip
    with started(command, folder / "log") as process:
        yield process


@pytest.fixture
def server(process):
    """Its address."""
    return process.address


@pytest.fixture
def alive(server):
    """The address; the engine must answer after the test, and must not have been made anew."""
    yield server
    assert exchange(server, post("/v1/responses", ASKED)).status == 200
    metrics = exchange(server, request("GET", "/metrics")).body.decode()
    (restarts,) = (
        line for line in metrics.splitlines() if line.startswith("ossia:") and "restarts" in line
    )
    assert float(restarts.split()[-1]) == 0


def _form(schema):
    return {"format": {"type": "json_schema", "name": "x", "strict": True, "schema": schema}}


def _nested(depth: int):
    schema = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def _wide(depth: int):
    """Each of two properties has two, and so on: 2**depth paths through `$ref`s."""
    defs = {
        f"d{n}": {
            "type": "object",
            "properties": {name: {"$ref": f"#/$defs/d{n + 1}"} for name in "ab"},
            "required": ["a", "b"],
        }
        for n in range(depth)
    }
    return {"$defs": {**defs, f"d{depth}": {"type": "null"}}, "$ref": "#/$defs/d0"}


BOMBS = {
    "ref to itself": {"$ref": "#"},
    "refs in a ring": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "ref to nothing": {"$ref": "#/$defs/none"},
    "ref elsewhere": {"$ref": "http://127.0.0.1:9/schema.json"},
    "ref to a file": {"$ref": "file:///etc/passwd"},
    "endless object": {
        "type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"], "additionalProperties": False,
    },
    "10^4 enum values": {"enum": [f"value {n}" for n in range(10_000)]},
    "10^5 enum values": {"enum": [f"v{n}" for n in range(100_000)]},
    "maxLength 10^6": {"type": "string", "maxLength": 10**6},
    "minLength 10^9": {"type": "string", "minLength": 10**9},
    "minItems 10^9": {"type": "array", "items": {"type": "null"}, "minItems": 10**9},
    "maxItems 10^6 of objects": {"type": "array", "items": _nested(5), "maxItems": 10**6},
    "nested quantifiers": {"type": "string", "pattern": "^((a{1,200}){1,200}){1,200}$"},
    "star of star": {"type": "string", "pattern": "^(a*)*(a|aa)*b$"},
    "repetition 10^9": {"type": "string", "pattern": "^a{1000000000}$"},
    "broken pattern": {"type": "string", "pattern": "(["},
    "look-around": {"type": "string", "pattern": "^(?=a)b$"},
    "90 deep": _nested(90),
    "40 deep": _nested(40),
    "2^40 paths": _wide(40),
    "500 optional properties": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(500)}},
    "5000 anyOf": {"anyOf": [{"type": "string", "pattern": f"^{n}a*b+$"} for n in range(5000)]},
    "multipleOf tiny": {"type": "number", "multipleOf": 1e-300},
    "huge numbers": {"type": "integer", "minimum": -(2**63), "maximum": 2**63},
    "type is a number": {"type": 7},
    "properties is a list": {"type": "object", "properties": []},
    "nul in a name": {"type": "object", "properties": {"\x00\u2028": {"type": "null"}}, "required": ["\x00\u2028"]},
    "false": {"type": "object", "properties": {"a": False}, "required": ["a"]},
}  # fmt: skip


class TestGrammarBombs:
    """Schemas, expressions and grammars that cost more than they say (CVE-2025-57809, -58446)."""

    @pytest.mark.parametrize("name", BOMBS)
    def test_a_schema(self, alive, name):
        answer = exchange(alive, post("/v1/responses", {**ASKED, "text": _form(BOMBS[name])}))
        self._judge(answer, "text.format.schema")

    @pytest.mark.parametrize(
        "name", ["2^40 paths", "nested quantifiers", "broken pattern", "ref to itself"]
    )
    def test_the_parameters_of_a_function(self, alive, name):
        parameters = {"type": "object", "properties": {"a": BOMBS[name]}, "required": ["a"]}
        if "$defs" in BOMBS[name]:
            parameters["$defs"] = BOMBS[name]["$defs"]
        tool = {"type": "function", "name": "f", "strict": True, "parameters": parameters}
        answer = exchange(
            alive, post("/v1/responses", {**ASKED, "tools": [tool], "tool_choice": "required"})
        )
        self._judge(answer, "tools[0]")

    @pytest.mark.parametrize(
        ("syntax", "definition"),
        [
            ("regex", "((a{1,300}){1,300}){1,300}"),
            ("regex", "("),
            ("regex", "a" * 70_000),
            ("regex", "(" * 5000 + ")" * 5000),
            ("lark", "start: start"),
            ("lark", "start: a\na: b\nb: a"),
            ("lark", "start: (a | b)*\na: b*\nb: a*"),
            ("lark", "start: " + "(" * 3000 + '"x"' + ")" * 3000),
            ("lark", 'start: "' + "x" * 300_000 + '"'),
            ("lark", "%import python (file_input)\nstart: file_input"),
            ("lark", "start: <|end|>"),
            ("lark", ""),
        ],
    )  # fmt: skip
    def test_a_grammar_of_a_tool(self, alive, syntax, definition):
        form = {"type": "grammar", "syntax": syntax, "definition": definition}
        tool = {"type": "custom", "name": "t", "format": form}
        answer = exchange(
            alive, post("/v1/responses", {**ASKED, "tools": [tool], "tool_choice": "required"})
        )
        self._judge(answer, "tools[0]")

    def _judge(self, answer, place):
        """It may be served, if it can; otherwise the field is named. It is no fault of the server."""
        if answer.status == 200:
            response = json.loads(answer.body)
            assert response["status"] in ("completed", "incomplete"), response["error"]
        else:
            assert answer.status == 400, answer.body
            told = answer.error
            # A schema stands in the prompt as well, which bounds it; deep JSON is refused as such.
            if told["code"] not in ("context_length_exceeded", "invalid_json"):
                assert told["param"].startswith(place), told
            assert b"root:" not in answer.body


class TestEngineKillers:
    """Prompts and fields that were engine's ends (CVE-2024-8768, CVE-2025-48942, -48943, -48944)."""

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/v1/completions", {"prompt": ""}),
            ("/v1/completions", {"prompt": []}),
            ("/v1/completions", {"prompt": [[]]}),
            ("/v1/completions", {"prompt": ["", ""]}),
            ("/v1/completions", {"prompt": [201_088]}),
            ("/v1/completions", {"prompt": [200_006, 200_008, 199_999], "max_tokens": 1}),
            ("/v1/completions", {"prompt": "x", "max_tokens": 0, "echo": True, "logprobs": 5}),
            ("/v1/completions", {"prompt": "x", "logit_bias": {"999999999": 1}}),
            ("/v1/completions", {"prompt": "x", "logit_bias": {"-1": 1}}),
            ("/v1/completions", {"prompt": "word " * 140_000}),
            ("/v1/chat/completions", {**CHAT, "messages": []}),
            ("/v1/chat/completions", {**CHAT, "messages": [{"role": "user", "content": ""}]}),
            ("/v1/chat/completions", {**CHAT, "logit_bias": {"5": 100}, "temperature": 0}),
            ("/v1/chat/completions", {**CHAT, "stop": ""}),
            ("/v1/chat/completions", {**CHAT, "min_tokens": 10**9}),
            ("/v1/responses", {**ASKED, "input": ""}),
            ("/v1/responses", {**ASKED, "input": []}),
            ("/v1/responses", {**ASKED, "temperature": 2, "top_p": 0, "top_k": 1}),
            ("/v1/responses", {**ASKED, "generate": False, "input": "\U0010ffff\ufdd0"}),
        ],
        ids=lambda value: str(value)[:60],
    )
    def test_a_request(self, alive, path, body):
        answer = exchange(alive, post(path, body))
        assert answer.status in (200, 400), answer.body
        if answer.status == 400:
            assert answer.error["type"] == "invalid_request_error"


class TestTimingOfPrompts:
    """The time to a first token tells what others have asked (CVE-2025-46570)."""

    PROMPT = "What one client asks, and another would like to know that it was asked. " * 40

    @pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", "/v1/completions"])
    def test_only_the_same_salt_finds_what_was_computed(self, alive, path):
        def cached(salt):
            text = f"{path} {self.PROMPT}"
            body = {
                "/v1/responses": {**ASKED, "input": text},
                "/v1/chat/completions": {
                    **CHAT,
                    "messages": [{"role": "user", "content": text}],
                },
                "/v1/completions": {"prompt": text, "max_tokens": 1},
            }[path]
            answer = exchange(alive, post(path, {**body, **salt}))
            assert answer.status == 200, answer.body
            usage = json.loads(answer.body)["usage"]
            details = usage.get("input_tokens_details") or usage["prompt_tokens_details"]
            return details["cached_tokens"]

        mine, yours = {"cache_salt": f"mine {path}"}, {"cache_salt": f"yours {path}"}
        assert cached(mine) == 0
        assert cached(mine) > 100
        assert cached(yours) == 0
        without = cached({})
        assert without < 100, "of another test at most"
        assert cached({"cache_salt": None}) > 100
        assert cached(mine) > 100

    @pytest.mark.parametrize("salt", ["x" * 257, 7, ["a"]])
    def test_a_salt_is_a_short_text(self, alive, salt):
        answer = exchange(alive, post("/v1/responses", {**ASKED, "cache_salt": salt}))
        assert (answer.status, answer.error["param"]) == (400, "cache_salt")


class TestOpenSockets:
    """Sockets of the inside that others can reach (CVE-2025-30165, CVE-2025-32444)."""

    @pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc here")
    def test_only_the_servers_own_address_is_listened_on(self, process):
        port = int(process.address.rpartition(":")[2])
        listening = {}
        owner = {inode: pid for pid in _family(process) for inode in _sockets(pid)}
        for table in ("tcp", "tcp6", "udp", "udp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                parts = line.split()
                listens = parts[3] == "0A" or table.startswith("udp")
                if listens and parts[9] in owner:
                    listening[table, parts[1]] = owner[parts[9]]
        assert list(listening) == [("tcp", f"0100007F:{port:04X}")]
        # The engine process has no address of the network at all.
        assert len(set(listening.values())) == 1
        assert len(_family(process)) >= 2

    def test_what_it_keeps_is_for_its_user_only(self, process):
        arguments = process.process.args
        folder = Path(arguments[arguments.index("--state-folder") + 1])
        assert folder.stat().st_mode & 0o077 == 0


def _family(server: ServerProcess) -> list[int]:
    """The server's process and all below it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = [server.process.pid]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _sockets(pid: int) -> list[str]:
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:["):
            links.append(target[8:-1])
    return links
