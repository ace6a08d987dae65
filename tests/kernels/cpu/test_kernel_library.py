"""Finding, choosing and calling the CPU kernels."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from ossia.errors import ConfigError, KernelError
from ossia.kernels.cpu import kernel_library as module
from ossia.kernels.cpu.kernel_library import KernelLibrary, digest_of_sources
from ossia.kernels.mxfp4 import Mxfp4Tensor, interleave
from ossia.kernels.mxfp4.interleaved import interleave_by_torch
from support import cpu_kernels


@pytest.fixture
def kernels() -> KernelLibrary:
    return cpu_kernels.needed()


@pytest.fixture
def fresh():
    """What is found is looked for anew, and again afterwards."""
    module._loaded.cache_clear()
    yield
    module._loaded.cache_clear()


def _packed(experts: int = 3, rows: int = 64, groups: int = 5) -> Mxfp4Tensor:
    shape = (experts, rows, groups)
    return Mxfp4Tensor(
        torch.randint(0, 256, (*shape, 16), dtype=torch.uint8),
        torch.randint(0, 256, shape, dtype=torch.uint8),
    )


def test_the_best_instruction_set_is_used(kernels):
    isas = kernels.isas()
    assert next(iter(isas)) == "portable"
    assert isas["portable"]
    drawbacks = kernels.drawbacks()
    assert kernels.isa == [name for name, runs in isas.items() if runs and not drawbacks[name]][-1]


def test_bfloat16_in_vectors_is_not_for_processors_of_intel(kernels):
    against = {name: words for name, words in kernels.drawbacks().items() if words is not None}
    assert list(against) == (["avx512_bf16"] if _vendor() == "GenuineIntel" else [])


def _vendor() -> str:
    """Of the processor; "" where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), ""
    )


def test_an_instruction_set_for_a_while(kernels):
    before = kernels.isa
    with kernels.using("portable"):
        assert kernels.isa == "portable"
    assert kernels.isa == before


def test_unknown_instruction_sets(kernels):
    with pytest.raises(
        ConfigError, match=r"'altivec' does not run here \(this library .* without it\); .*portable"
    ):
        kernels.use("altivec")


def test_why_a_set_does_not_run(kernels):
    obstacles = kernels.obstacles()
    assert {name: obstacle is None for name, obstacle in obstacles.items()} == kernels.isas()
    assert obstacles["portable"] is None
    for name, obstacle in obstacles.items():
        if obstacle is not None:
            with pytest.raises(ConfigError, match=re.escape(f"does not run here ({obstacle}); ")):
                kernels.use(name)


def _doctor(**environ: str) -> subprocess.CompletedProcess[str]:
    code = "import ossia.kernels.cpu as c; x = c.load(); print(x and x.isa, c.why_not())"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_the_environment_chooses(kernels):
    assert _doctor(OSSIA_CPU_ISA="portable").stdout.strip() == "portable None"
    assert _doctor(OSSIA_CPU_ISA="off").stdout.strip() == "None switched off by OSSIA_CPU_ISA=off"
    assert "OSSIA_CPU_ISA='mmx' is not one of portable" in _doctor(OSSIA_CPU_ISA="mmx").stderr


def test_without_a_library(fresh, monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("ossia.log._said", set())
    monkeypatch.setattr(module, "_FILE", tmp_path / "none.so")
    assert module.load() is None
    assert module.why_not().startswith("was not built; with CMake and a C++20 compiler")
    assert "was not built" in caplog.text
    packed = _packed()  # torch does the work
    assert torch.equal(
        interleave(packed, paired=True).blocks, interleave_by_torch(packed, paired=True).blocks
    )


def test_a_processor_without_vectors(kernels, fresh, monkeypatch, caplog):
    monkeypatch.setattr("ossia.log._said", set())
    monkeypatch.setattr(KernelLibrary, "isa", "portable")
    assert module.load() is not None
    assert "neither AVX2 nor NEON with dot products" in caplog.text
    caplog.clear()
    module._loaded.cache_clear()
    monkeypatch.setenv("OSSIA_CPU_ISA", "portable")
    assert module.load() is not None
    assert not caplog.records


def test_a_file_that_is_no_library(fresh, monkeypatch, tmp_path, caplog):
    file = tmp_path / "broken.so"
    file.write_bytes(b"\x7fELF")
    monkeypatch.setattr(module, "_FILE", file)
    assert module.load() is None
    assert "cannot be loaded" in module.why_not()
    assert "make cpu" in caplog.text


def test_a_library_that_is_older_than_its_sources(kernels, fresh, monkeypatch, tmp_path):
    for path in module._SOURCES.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(module, "_SOURCES", tmp_path)
    module._check_age(kernels)
    (tmp_path / "pool.h").write_text("// changed")
    with pytest.raises(KernelError, match=r"older than their sources; .*make cpu"):
        module._check_age(kernels)
    assert module.load() is None


def test_it_was_built_from_these_sources(kernels):
    assert kernels.source_digest == digest_of_sources(module._SOURCES)


def test_the_header_declares_what_python_does(kernels):
    header = (module._SOURCES / "ossia_cpu.h").read_text()
    for name in module._INTERFACE:
        assert f"{name}(" in header
    body = header.partition("struct ossia_experts {")[2].partition("};")[0]
    words = [line.partition("//")[0].strip() for line in body.splitlines()]
    declared = [
        name.strip().lstrip("*")
        for line in words
        if line
        for name in line.rstrip(";").split(" ", 1)[1].removeprefix("void*").removeprefix("uint8_t*").split(",")
    ]  # fmt: skip
    declared = [name.split()[-1].lstrip("*") for name in declared]
    assert declared == [name for name, _ in module.ExpertsCall._fields_]
    assert ctypes.sizeof(module.ExpertsCall) == 10 * 8 + 5 * 8 + 2 * 4 + 3 * 4 + 4  # padded


def test_callers_on_several_threads(kernels, monkeypatch):
    monkeypatch.setattr("ossia.kernels.mxfp4.interleaved.num_threads", lambda: 3)
    packed = _packed(experts=8)
    expected = interleave_by_torch(packed, paired=True)
    wrong: list[int] = []

    def run(number: int) -> None:
        for _ in range(20):
            blocks, scales, _ = interleave(packed, paired=True)
            if not (torch.equal(blocks, expected.blocks) and torch.equal(scales, expected.scales)):
                wrong.append(number)

    callers = [threading.Thread(target=run, args=(number,)) for number in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own(kernels):
    code = """
import os, torch
import ossia.kernels.mxfp4.interleaved as m
from ossia.kernels.mxfp4 import Mxfp4Tensor
m.num_threads = lambda: 3
packed = Mxfp4Tensor(torch.randint(0, 256, (8, 64, 5, 16), dtype=torch.uint8), torch.randint(0, 256, (8, 64, 5), dtype=torch.uint8))
def work():
    return all(torch.equal(m.interleave(packed, paired=True).blocks, expected) for _ in range(50))
expected = m.interleave(packed, paired=True).blocks
child = os.fork()
if child == 0:
    os._exit(0 if work() and len(os.listdir("/proc/self/task")) == 3 else 1)
assert work()
assert os.waitpid(child, 0)[1] == 0
print("both")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # torch's own threads would be counted, too
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout == "both\n", done.stderr


@pytest.mark.slow
def test_under_sanitizers(kernels):
    script = os.path.join(os.path.dirname(__file__), "sanitize.sh")
    done = subprocess.run([script], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("all is well") >= 2, done.stdout  # thrice where Arm can be emulated


@pytest.mark.parametrize("words", [1, 1000, 65536, 200_001])
@pytest.mark.parametrize(("threads", "ahead"), [(1, 0), (3, 4096)])
@pytest.mark.parametrize("isa", cpu_kernels.runnable_isas() or ["none"])
def test_reading_reads_everything(kernels, isa, words, threads, ahead):
    memory = torch.randint(-(2**62), 2**62, (words,))
    expected = int(np.bitwise_xor.reduce(memory.numpy().view(np.uint64)))
    with kernels.using(isa):
        assert kernels.read(memory, threads, ahead=ahead) == expected
