"""What requests, checkpoints and the model's own words must never set in motion."""

from __future__ import annotations

import ast
import json
import socket
import subprocess
import sys
from pathlib import Path
from re import _constants as sre  # pyright: ignore[reportPrivateUsage]
from re import _parser as sre_parser  # pyright: ignore[reportPrivateUsage]

import pytest

import ossia
from ossia.checkpoint.reader import open_checkpoint
from ossia.errors import OssiaError
from support.api_client import serving_script
from support.checkpoints import edit_json, write_tiny
from support.raw_http import exchange, post
from support.scripted_engine import TOKENIZER
from support.scripted_service import ScriptedService
from support.security import BODIES, CHAT, MESSAGE, RESPONSE

PACKAGE = Path(ossia.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


def _trees():
    for path in MODULES:
        yield path, ast.parse(path.read_text(encoding="utf-8"))


class TestRemoteFetches:
    """Addresses in a request that the server calls (CVE-2025-6242, CVE-2026-24779)."""

    @pytest.mark.parametrize("images", ["refuse", "note"])
    def test_images_and_files_are_never_fetched(self, images):
        with socket.create_server(("127.0.0.1", 0)) as trap:
            trap.settimeout(0.2)
            url = f"http://127.0.0.1:{trap.getsockname()[1]}/x"
            for path, body in self._bodies(url):
                with serving_script(ScriptedService(), images=images) as address:
                    answer = exchange(address, post(path, body))
                assert answer.status in (200, 400, 404), answer.body
            with pytest.raises(TimeoutError):
                trap.accept()

    def _bodies(self, url):
        def asked(*parts):
            return {**RESPONSE, "input": [{"role": "user", "content": list(parts)}]}

        yield "/v1/responses", asked({"type": "input_image", "image_url": url})
        yield "/v1/responses", asked({"type": "input_file", "file_url": url})
        yield "/v1/responses", asked({"type": "input_image", "image_url": "file:///etc/passwd"})
        yield (
            "/v1/responses",
            {**RESPONSE, "tools": [{"type": "mcp", "server_label": "x", "server_url": url}]},
        )
        yield "/v1/responses", {**RESPONSE, "prompt": {"id": url}}
        for kind, source in (("image_url", {"url": url}), ("input_audio", {"data": url})):
            messages = [{"role": "user", "content": [{"type": kind, kind: source}]}]
            yield "/v1/chat/completions", {**CHAT, "messages": messages}
        image = {"type": "image", "source": {"type": "url", "url": url}}
        yield "/v1/messages", {**MESSAGE, "messages": [{"role": "user", "content": [image]}]}
        yield "/v1/responses", {**RESPONSE, "model": url}
        schema = {"$ref": url}
        form = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
        yield "/v1/responses", {**RESPONSE, "text": form}


class TestPromptEmbeds:
    """Pickled tensors in place of a prompt (CVE-2025-62164)."""

    @pytest.mark.parametrize("path", BODIES)
    def test_they_are_not_offered(self, path):
        service = ScriptedService()
        embeds = {"prompt_embeds": "gASVAAAA", "prompt_embed": "x", "multi_modal_data": {"a": "x"}}
        with serving_script(service) as address:
            for more in (embeds, {}):
                assert exchange(address, post(path, {**BODIES[path], **more})).status == 200
        first, second = service.requests
        assert first.prompt_ids == second.prompt_ids


class TestPickles:
    """Bytes that run code when they are read (CVE-2025-32444, CVE-2025-24357)."""

    def test_nothing_here_unpickles(self):
        forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
        for path, tree in _trees():
            for node in ast.walk(tree):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                assert not forbidden & {name.partition(".")[0] for name in names}, path
                if isinstance(node, ast.Attribute):
                    called = ast.unparse(node)
                    assert called not in (
                        "torch.load",
                        "yaml.load",
                        "numpy.load",
                        "np.load_pickle",
                    ), path

    def test_a_pickled_checkpoint_is_refused_unread(self, tmp_path):
        write_tiny(tmp_path)
        (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
        with pytest.raises(OssiaError, match="pickled"):
            open_checkpoint(tmp_path)


class TestEvaluatedOutput:
    """Words of the model that are run, or that an expression chokes on (CVE-2025-9141, -48887)."""

    def test_nothing_is_evaluated(self):
        for path, tree in _trees():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in ("eval", "exec", "compile", "__import__"), path
                if isinstance(node, ast.keyword) and node.arg == "shell":
                    pytest.fail(f"{path}: a shell")

    def test_no_expression_can_take_for_ever(self):
        """None repeats, without a bound, what itself repeats without one."""
        found = 0
        for path, tree in _trees():
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
                    for pattern in _strings(node.args[:1]):
                        found += 1
                        assert not _is_explosive(sre_parser.parse(pattern)), (path, pattern)
        assert found > 20

    @pytest.mark.parametrize(
        ("pattern", "explodes"), [("(a+)+b", True), ("(?:a*b?)*", True), ("(a+b)?c*", False)]
    )
    def test_that_test_can_fail(self, pattern, explodes):
        assert _is_explosive(sre_parser.parse(pattern)) is explodes

    @pytest.mark.parametrize(
        "arguments",
        [
            "__import__('os').system('touch /tmp/pwned')",
            '{"a": ' * 3000,
            "[" * 20_000,
            "a" * 20_000 + "!",
            " " * 20_000 + "{",
            '{"a": "' + "\\\\" * 20_000,
            "1" * 20_000,
            "-" * 20_000 + "(a)" * 1000,
            "1e" + "9" * 5_000,
        ],
        ids=lambda text: text[:12],
    )
    @pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", "/v1/messages"])
    def test_hostile_arguments_are_passed_on_as_text(self, path, arguments):
        begin = "<|channel|>commentary to=functions.f <|constrain|>json<|message|>"
        ids = [*TOKENIZER.encode_with_special(begin), *TOKENIZER.encode(arguments)]
        service = ScriptedService([*ids, *TOKENIZER.encode_with_special("<|call|>")])
        schema = {"type": "object", "properties": {}}
        tools = {
            "/v1/responses": {
                "type": "function",
                "name": "f",
                "parameters": schema,
                "strict": False,
            },
            "/v1/chat/completions": {
                "type": "function",
                "function": {"name": "f", "parameters": schema},
            },
            "/v1/messages": {"name": "f", "input_schema": schema},
        }
        body = {**BODIES[path], "tools": [tools[path]]}
        body.update({"max_tokens": 10**6} if path == "/v1/messages" else {})
        with serving_script(service) as address:
            answer = exchange(address, post(path, body))
            assert answer.status == 200, answer.body
            assert exchange(address, post("/tokenize", {"prompt": "x"})).status == 200
        if path == "/v1/responses":
            (call,) = (
                one for one in json.loads(answer.body)["output"] if one["type"] == "function_call"
            )
            assert call["arguments"] == arguments
        assert not Path("/tmp/pwned").exists()


class TestConfigDrivenCode:
    """Code that a checkpoint's configuration names (CVE-2025-66448, CVE-2026-22807)."""

    def test_it_is_never_loaded(self, tmp_path):
        write_tiny(tmp_path)
        mark = tmp_path / "ran"
        code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\nclass C: pass\n"
        for name in (
            "modeling_evil.py",
            "configuration_evil.py",
            "tokenization_evil.py",
            "custom_generate/generate.py",
        ):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(code)

        raw = json.loads((tmp_path / "config.json").read_text())
        edit_json(
            tmp_path / "config.json",
            auto_map={
                "AutoConfig": "configuration_evil.C",
                "AutoModelForCausalLM": "evil/repo--modeling_evil.C",
            },
            custom_pipelines={"x": {"impl": "modeling_evil.C"}},
            quantization_config={
                **raw.get("quantization_config", {}),
                "plugin": "modeling_evil",
            },
        )
        program = (
            "import sys; from ossia.api.runtime import Runtime; "
            "Runtime.load(sys.argv[1], device='cpu')"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert not mark.exists()
        # It is read for what it is, or refused in a line.
        assert done.returncode == 0 or "ossia.errors" in done.stderr, done.stderr


def _strings(nodes):
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Call):
            yield from _strings(node.args)


def _is_explosive(parsed, *, inside: bool = False) -> bool:
    for operation, value in parsed:
        if operation in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            _, most, body = value
            unbounded = most is sre.MAXREPEAT
            if unbounded and inside:
                return True
            if _is_explosive(body, inside=inside or unbounded):
                return True
        elif operation is sre.SUBPATTERN:
            if _is_explosive(value[3], inside=inside):
                return True
        elif operation is sre.BRANCH:
            if any(_is_explosive(branch, inside=inside) for branch in value[1]):
                return True
        elif operation in (sre.ASSERT, sre.ASSERT_NOT) and _is_explosive(value[1], inside=inside):
            return True
    return False
