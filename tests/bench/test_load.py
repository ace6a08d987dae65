"""Starts of a process of its own, and what a measurement was made with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ossia
from ossia.bench import environment, load
from ossia.bench.load import measure_load
from ossia.bench.memory import peak_resident_bytes
from ossia.bench.profile import check_trace_file
from ossia.bench.subject import load_subject
from ossia.errors import OssiaError, RequestError


def test_a_start_is_told_in_its_order():
    found = measure_load("random:tiny", device="cpu", dtype="float32", prompt=3, threads=1)
    moments = [found.imported, found.loaded, found.ready, found.first_token]
    assert moments == sorted(moments)
    assert found.imported > 0
    subject = load_subject("random:tiny", device="cpu", dtype="float32", threads=1)
    assert found.weight_bytes == subject.nbytes
    assert found.peak_resident_bytes > subject.nbytes
    assert found.peak_device_bytes is None
    assert found.peak_over_weights == found.peak_resident_bytes / found.weight_bytes


def test_a_start_as_a_server_s_in_an_environment_of_its_own(tmp_path):
    """Whose cache the demo is unpacked to."""
    environ = {**os.environ, "OSSIA_CACHE": str(tmp_path)}
    found = measure_load("demo", device="cpu", threads=1, serving=True, environ=environ)
    assert found.loaded <= found.ready <= found.first_token
    assert list(tmp_path.iterdir())


def test_a_start_that_fails_says_why(monkeypatch):
    with pytest.raises(
        OssiaError, match=r"loads ./nowhere failed \(1\): ./nowhere: no such folder"
    ):
        measure_load("./nowhere", device="cpu")
    with pytest.raises(RequestError, match=r"^prompt: "):
        measure_load("random:tiny", prompt=0)
    monkeypatch.setattr(load.sys, "executable", "/bin/false")
    with pytest.raises(OssiaError, match="it said nothing"):
        measure_load("random:tiny")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_the_peak_is_this_process_s_and_stays():
    code = (
        "from ossia.bench.memory import peak_resident_bytes as peak\n"
        "before = peak()\nheld = b'x' * 200_000_000\ndel held\n"
        "print(before, peak())\n"
    )
    held = bytearray(b"x") * 300_000_000  # of the parent, which is none of the child's
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert 190_000_000 < after - before < 260_000_000
    assert peak_resident_bytes() >= len(held)


def test_threads_are_for_the_cpu(monkeypatch):
    monkeypatch.setattr("ossia.bench.subject.torch_device", lambda _: torch.device("cuda"))
    with pytest.raises(RequestError, match=r"^threads: "):
        load_subject("random:tiny", threads=2)


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True)


def test_the_commit_is_the_package_s_own(tmp_path, monkeypatch):
    package = tmp_path / "src" / "ossia"
    package.mkdir(parents=True)
    init = package / "__init__.py"
    init.write_text("")
    monkeypatch.setattr(ossia, "__file__", str(init))
    assert environment.commit() is None  # no repository
    git(tmp_path, "init")
    assert environment.commit() is None  # the package is not of it
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    found = environment.commit()
    assert found is not None
    assert len(found) == 12
    init.write_text("changed")
    assert environment.commit() == f"{found}+"
    monkeypatch.setenv("PATH", "")
    assert environment.commit() is None  # no git


def test_hardware_and_software_are_told():
    software = environment.software()
    assert software["ossia"] == ossia.__version__
    assert software["date"].endswith("Z")
    device = environment.hardware("cpu")
    assert device["type"] == "cpu"
    assert device["threads"] >= 1
    assert device["name"]


def test_where_a_trace_cannot_go(tmp_path):
    check_trace_file(tmp_path / "trace.json")
    for file in (tmp_path, tmp_path / "nowhere" / "trace.json"):
        with pytest.raises(RequestError, match=r"^profile: "):
            check_trace_file(file)


@pytest.mark.parametrize(
    "module", ["ossia.cli.main", "ossia.bench.serve.driving", "ossia.bench.report"]
)
def test_torch_is_not_needed_for_a_load_on_a_server(module: str):
    code = f"import sys, {module}; print(*{{'torch', 'numpy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
