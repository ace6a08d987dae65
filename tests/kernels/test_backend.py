"""Choosing implementations: the best that the device can run, and why not a better one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ossia.kernels import backend
from ossia.kernels.backend import Implementation, choose, choose_all

KERNELS = Path(backend.__file__).parent
# What does not lie in its operation's folder under its own name.
PLACES = {
    ("decode", "cpu"): KERNELS.parent / "model" / "cpu_decoder.py",
    ("int8", "cpu"): KERNELS / "int8" / "quantize.py",
    ("int8", "reference"): KERNELS / "int8" / "quantize.py",
}


def test_every_operation_has_a_choice_and_every_choice_an_operation():
    folders = {path.parent.name for path in KERNELS.glob("*/__init__.py")} - {
        "cuda",
        "cpu",
    }  # tools
    assert set(backend.IMPLEMENTATIONS) == folders
    choices = choose_all(torch.device("cpu"))
    assert [choice.operation for choice in choices] == sorted(folders)
    for choice in choices:
        place = KERNELS / choice.operation / f"{choice.chosen.name}.py"
        assert PLACES.get((choice.operation, choice.chosen.name), place).is_file()


def test_better_implementations_are_passed_over_with_a_reason(monkeypatch):
    fast = Implementation(
        name="fast",
        what="a kernel",
        requires=lambda device: None if device.type == "cuda" else "needs a GPU",
    )
    rows = {"norm": (fast, backend.IMPLEMENTATIONS["norm"][-1])}
    monkeypatch.setattr(backend, "IMPLEMENTATIONS", rows)
    on_cpu = choose("norm", torch.device("cpu"))
    assert on_cpu.chosen.name == "reference"
    assert on_cpu.passed_over == ((fast, "needs a GPU"),)
    on_gpu = choose("norm", torch.device("cuda"))
    assert (on_gpu.chosen, on_gpu.passed_over) == (fast, ())


def test_unknown_operations():
    with pytest.raises(KeyError):
        choose("nonsense", torch.device("cpu"))
