"""The unit, its settings and the Containerfile, as far as they can be tried without their programs."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from guides.running import ROOT, run_to_the_end
from ossia import env
from ossia.server.guards.keys import OPEN_PATHS
from ossia.server.options import serve_options
from serving_page.table import page, source
from support.api_client import serving_script
from support.scripted_service import ScriptedService

PACKAGING = ROOT / "packaging"


class _Unit(configparser.RawConfigParser):
    """A unit file; of names that stand there several times, all values."""

    optionxform = staticmethod(str)


def _unit() -> dict[str, list[str]]:
    """Settings of the unit's service."""
    parser = _Unit(strict=False, interpolation=None, comment_prefixes=("#",), delimiters=("=",))
    text = (PACKAGING / "ossia.service").read_text(encoding="utf-8")
    parser.read_string(text)
    assert set(parser.sections()) == {"Unit", "Service", "Install"}
    service = text.partition("[Service]")[2].partition("[Install]")[0]
    settings: dict[str, list[str]] = {name: [] for name in parser["Service"]}
    for line in service.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition("=")
            settings[name].append(value)
    return settings


class TestUnit:
    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
    def test_systemd_finds_nothing_wrong(self, tmp_path):
        # The program is not installed where the tests run.
        text = (
            (PACKAGING / "ossia.service").read_text().replace("/opt/ossia/bin/ossia", "/bin/true")
        )
        unit = tmp_path / "ossia.service"
        unit.write_text(text)
        done = _systemd_analyze("verify", "--man=no", str(unit))
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        judged = _systemd_analyze("security", "--offline=true", "--threshold=20", str(unit))
        assert judged.returncode == 0, judged.stdout

    def test_it_is_hardened(self):
        unit = _unit()
        for name in (
            "DynamicUser",
            "NoNewPrivileges",
            "ProtectHome",
            "PrivateTmp",
            "RestrictNamespaces",
        ):
            assert unit[name] == ["yes"], name
        assert unit["ProtectSystem"] == ["strict"]
        assert unit["CapabilityBoundingSet"] == [""]
        assert unit["StateDirectory"] == unit["CacheDirectory"] == ["ossia"]
        assert "User" not in unit

    def test_no_secret_is_on_the_command_line_or_in_the_environment(self):
        unit = _unit()
        (command,) = unit["ExecStart"]
        assert shlex.split(command)[1:] == ["serve", "--config", "/etc/ossia/serve.toml"]
        variables = dict(one.split("=", 1) for one in unit["Environment"])
        assert "OSSIA_SERVE_API_KEYS" not in variables
        (credential,) = unit["LoadCredential"]
        assert variables["OSSIA_SERVE_API_KEY_FILE"] == f"%d/{credential.partition(':')[0]}"

    def test_the_server_understands_its_settings(self, tmp_path):
        keys = tmp_path / "api-keys"
        keys.write_text("sk-1\n")
        variables = dict(one.split("=", 1) for one in _unit()["Environment"])
        for name, value in variables.items():
            variables[name] = (
                value.replace("%d", str(tmp_path))
                .replace("%S", "/var/lib")
                .replace("%C", "/var/cache")
            )
        options = serve_options({}, environ=variables, config_file=PACKAGING / "serve.toml")
        assert options.model.model == "openai/gpt-oss-20b"
        assert options.settings.host == "127.0.0.1"
        assert options.settings.api_keys == ("sk-1",)
        assert options.settings.state_folder == Path("/var/lib/ossia")
        assert env.cache_folder(variables) == Path("/var/cache/ossia")

    def test_there_is_time_to_drain(self):
        options = serve_options({}, environ={}, config_file=PACKAGING / "serve.toml")
        (limit,) = _unit()["TimeoutStopSec"]
        assert int(limit) > options.settings.drain_timeout + 10
        assert _unit()["KillMode"] == ["mixed"]  # the engine process is the server's to end

    def test_the_page_installs_what_the_unit_names(self):
        commands = source("systemd")
        (program,) = (shlex.split(one)[0] for one in _unit()["ExecStart"])
        assert program.removesuffix("bin/ossia").rstrip("/") in commands
        for path in ("/etc/ossia/serve.toml", "/etc/ossia/api-keys", "packaging/ossia.service"):
            assert path in commands
        for path in re.findall(r"\bpackaging/\S+", commands):
            assert (ROOT / path).is_file(), path


def _systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def _instructions() -> list[tuple[str, str]]:
    """Of the Containerfile: (word, the rest), continued lines as one."""
    text = (PACKAGING / "Containerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines()]  # type: ignore[misc]


def _last_stage() -> list[tuple[str, str]]:
    found = _instructions()
    begins = [number for number, (word, _) in enumerate(found) if word == "FROM"]
    assert len(begins) == 2
    return found[begins[-1] :]


def _environment() -> dict[str, str]:
    (given,) = (rest for word, rest in _last_stage() if word == "ENV")
    return dict(one.split("=", 1) for one in shlex.split(given))


class TestContainerfile:
    def test_every_instruction_is_known(self):
        known = {"FROM", "ARG", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL",
                 "HEALTHCHECK", "ENTRYPOINT", "CMD"}  # fmt: skip
        assert {word for word, _ in _instructions()} <= known

    def test_shell_commands_are_well_formed(self):
        for word, rest in _instructions():
            if word == "RUN":
                subprocess.run(["sh", "-n", "-c", rest], check=True)

    def test_what_is_copied_is_there_and_is_all_that_the_build_needs(self):
        copied = [
            shlex.split(rest)[:-1] for word, rest in _instructions()
            if word == "COPY" and not rest.startswith("--from")
        ]  # fmt: skip
        paths = {path for one in copied for path in one}
        assert all((ROOT / path).exists() for path in paths)
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert paths >= {"pyproject.toml", "constraints.txt", "src", project["readme"]}
        assert "packaging/cpu_kernels/CMakeLists.txt" in paths
        assert paths >= set(project["license-files"])

    @pytest.mark.clients  # fetches the build's own tool
    def test_a_package_is_built_from_that(self, tmp_path):
        context = tmp_path / "source"
        context.mkdir()
        for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, context)
        cmake = context / "packaging" / "cpu_kernels" / "CMakeLists.txt"
        cmake.parent.mkdir(parents=True)
        shutil.copy(ROOT / "packaging" / "cpu_kernels" / "CMakeLists.txt", cmake)
        shutil.copytree(ROOT / "src", context / "src", ignore=shutil.ignore_patterns("*.so"))
        run_to_the_end(
            "python -m venv image && image/bin/pip install -q --no-deps -c source/constraints.txt source/",
            tmp_path,
            environ={"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
        assert (tmp_path / "image" / "bin" / "ossia").is_file()
        (demo,) = tmp_path.glob("image/lib/*/site-packages/ossia/demo/__init__.py")
        assert {path.name for path in demo.parent.iterdir()} >= {
            path.name for path in (ROOT / "src/ossia/demo").iterdir() if path.name[0] != "_"
        }
        if shutil.which("c++"):
            assert (demo.parents[1] / "kernels" / "cpu" / "libossia_cpu.so").is_file()

    def test_nothing_runs_as_root(self):
        words = [word for word, _ in _last_stage()]
        (user,) = (rest for word, rest in _last_stage() if word == "USER")
        assert int(user) > 0
        assert words.index("USER") < words.index("ENTRYPOINT")
        made = " ".join(rest for word, rest in _last_stage() if word == "RUN")
        assert f"--uid {user}" in made
        (volumes,) = (json.loads(rest) for word, rest in _last_stage() if word == "VOLUME")
        for volume in volumes:
            assert volume in made, "else it belongs to root"

    def test_the_server_understands_its_environment(self):
        given = _environment()
        options = serve_options({}, environ=given)
        assert options.settings.host == "0.0.0.0"
        assert options.settings.state_folder == Path("/var/lib/ossia")
        assert env.cache_folder(given) == Path("/var/cache/ossia")
        (port,) = (rest for word, rest in _last_stage() if word == "EXPOSE")
        assert options.settings.port == int(port)
        assert not [name for name in given if "KEY" in name]

    def test_it_serves_unless_told_otherwise(self):
        stage = dict(_last_stage())
        assert json.loads(stage["ENTRYPOINT"]) == ["ossia", "serve"]
        assert json.loads(stage["CMD"]) == ["demo"]

    def test_the_health_check_tells_a_server_from_none(self, tmp_path):
        (given,) = (rest for word, rest in _last_stage() if word == "HEALTHCHECK")
        command = shlex.join(json.loads(given.partition(" CMD ")[2]))
        with serving_script(ScriptedService(), api_keys=("k",)) as address:
            port = address.rpartition(":")[2]
            run_to_the_end(command, tmp_path, environ={"OSSIA_SERVE_PORT": port})
        with pytest.raises(AssertionError, match="URLError"):
            run_to_the_end(command, tmp_path, environ={"OSSIA_SERVE_PORT": "9"})
        assert "/health" in OPEN_PATHS, "the check has no key"

    def test_the_page_runs_it_with_what_it_declares(self):
        commands = source("podman")
        (run,) = (line for line in commands.splitlines() if line.startswith("podman run"))
        words = shlex.split(run)
        mounted = {words[at + 1].partition(":")[2] for at, word in enumerate(words) if word == "-v"}
        assert mounted == set(json.loads(dict(_last_stage())["VOLUME"]))
        assert "--cap-drop=all" in words
        assert words[-2:] == ["ossia", "openai/gpt-oss-20b"]
        (user,) = (rest for word, rest in _last_stage() if word == "USER")
        assert f"uid={user}" in run
        build = shlex.split(commands.splitlines()[0])
        assert "packaging/Containerfile" in build
        assert build[build.index("--format") + 1] == "docker", "others have no health checks"


def test_prometheus_settings_name_the_server():
    yaml = pytest.importorskip("yaml")
    (job,) = yaml.safe_load(source("prometheus"))["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8000"]}]
    assert list(job["authorization"]) == ["credentials_file"], "it scrapes /metrics with a key"


def test_files_that_the_page_points_to_are_there():
    links = re.findall(r"\]\((?!#|https?:)([^)#]+)", page())
    assert "../packaging/ossia.service" in links
    for link in links:
        assert (ROOT / "docs" / link).exists(), link
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in page().splitlines()
        if line.startswith("#")
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", page()):
        assert anchor in headings, anchor
