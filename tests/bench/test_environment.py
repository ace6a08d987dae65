"""What is told of a GPU: by torch and `nvidia-smi`, both scripted."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ossia.bench import environment
from ossia.bench.report import Report
from ossia.cli.bench_view import show_heading
from ossia.cli.output import Output

UUID = "7c1a2f50-0000-1111-2222-333344445555"


@pytest.fixture(autouse=True)
def _gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    properties = SimpleNamespace(uuid=UUID)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(environment, "_version", lambda _: "3.6.0")


def scripted(monkeypatch, said: str | Exception) -> list[list[str]]:
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        asked.append(command)
        if isinstance(said, Exception):
            raise said
        return SimpleNamespace(stdout=said)

    monkeypatch.setattr(environment.subprocess, "run", run)
    return asked


def heading(device: dict[str, Any], capsys) -> str:
    software = {"ossia": "1", "commit": None, "python": "3", "torch": "2", "date": "today"}
    given = {"command": "ossia bench latency", "settings": {}, "model": {"name": "demo"}}
    show_heading(Output(), Report(**given, software=software, device=device))
    return capsys.readouterr().out.splitlines()[1]


def test_driver_and_clocks_are_those_of_the_device(monkeypatch, capsys):
    asked = scripted(monkeypatch, "580.159, 1755, 1980\n")
    device = environment.hardware("cuda:1")
    assert device == {
        "type": "cuda", "name": "NVIDIA H200", "capability": "9.0", "cuda": "13.0", "triton": "3.6.0",
        "driver": "580.159", "sm_clock_mhz": 1755, "max_sm_clock_mhz": 1980,
    }  # fmt: skip
    assert asked == [[
        "nvidia-smi", f"--id=GPU-{UUID}", "--query-gpu=driver_version,clocks.sm,clocks.max.sm",
        "--format=csv,noheader,nounits",
    ]]  # fmt: skip
    assert heading(device, capsys) == (
        "on NVIDIA H200 (compute capability 9.0), driver 580.159, CUDA 13.0, Triton 3.6.0, "
        "SM clock 1755 of 1980 MHz"
    )


@pytest.mark.parametrize(
    "said",
    [
        FileNotFoundError("nvidia-smi"),
        subprocess.CalledProcessError(6, "nvidia-smi"),
        subprocess.TimeoutExpired("nvidia-smi", 10),
        "No devices were found\n",
        "",
    ],
)
def test_what_nobody_says_is_not_told(monkeypatch, capsys, said: str | Exception):
    scripted(monkeypatch, said)
    device = environment.hardware("cuda")
    names = ("driver", "sm_clock_mhz", "max_sm_clock_mhz")
    assert [device[name] for name in names] == [None] * 3
    told = "on NVIDIA H200 (compute capability 9.0), CUDA 13.0, Triton 3.6.0"
    assert heading(device, capsys) == told


def test_clocks_that_are_not_supported_are_left_out(monkeypatch, capsys):
    scripted(monkeypatch, "580.159, [N/A], [N/A]\n")
    device = environment.hardware("cuda")
    assert (device["sm_clock_mhz"], device["max_sm_clock_mhz"]) == (None, None)
    assert heading(device, capsys).endswith("driver 580.159, CUDA 13.0, Triton 3.6.0")
