"""Choosing implementations: the best that the device can run, and why not a better one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ossia.kernels import backend
from ossia.kernels.backend import Implementation, choose, choose_all, within
from ossia.kernels.cuda import program
from ossia.kernels.cuda.capability import nvidia_capability
from ossia.kernels.decode.launching import is_hopper
from ossia.kernels.fp8 import has_fp8

KERNELS = Path(backend.__file__).parent
# What does not lie in its operation's folder under its own name.
PLACES = {
    ("decode", "cpu"): KERNELS.parent / "model" / "cpu_decoder.py",
    ("int8", "cpu"): KERNELS / "int8" / "quantize.py",
    ("int8", "reference"): KERNELS / "int8" / "quantize.py",
}
GPU = torch.device("cuda:0")


@pytest.fixture
def card(monkeypatch):
    """Makes torch say that it was built for some kind of GPU, and that there is one."""

    def has(
        capability: tuple[int, int], *, cuda: str | None = None, hip: str | None = None
    ) -> None:
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.version, "hip", hip)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(program, "find_nvrtc", object)
        monkeypatch.setattr(backend, "find_spec", lambda name: name)

    return has


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


def test_an_nvidia_gpu_has_a_capability(card):
    for capability in ((8, 0), (8, 9), (9, 0), (10, 0)):
        card(capability, cuda="13.0")
        assert nvidia_capability(GPU) == capability
        assert is_hopper(GPU) == (capability == (9, 0))
        assert has_fp8(GPU) == (capability >= (9, 0))
    for device in ("cpu", "mps", "xpu"):
        assert nvidia_capability(torch.device(device)) is None
        assert not is_hopper(torch.device(device))
        assert not has_fp8(torch.device(device))


@pytest.mark.parametrize("capability", [(9, 0), (9, 4), (12, 0)])  # of MI200, MI300, RX 9000
def test_what_amd_calls_a_capability_is_none(card, capability):
    card(capability, hip="6.4")
    assert nvidia_capability(GPU) is None
    assert not is_hopper(GPU)
    assert not has_fp8(GPU)
    fp8, decode = choose("fp8", GPU), choose("decode", GPU)
    assert (fp8.chosen.name, decode.chosen.name) == ("reference", "reference")
    assert fp8.passed_over[-1][1] == "needs a GPU of NVIDIA's"
    assert decode.passed_over[0][1] == "needs a torch that was built for CUDA"
    assert choose("attention", GPU).chosen.name == "triton"


# Of decode steps, experts, attention and 8-bit floats.
@pytest.mark.parametrize(
    ("capability", "chosen"),
    [
        ((7, 5), ("reference", "reference", "reference", "reference")),
        ((8, 0), ("reference", "triton", "triton", "cuda")),
        ((9, 0), ("cuda", "cuda", "triton", "cuda")),
    ],
)
def test_what_runs_on_generations_of_nvidias(card, capability, chosen):
    card(capability, cuda="13.0")
    asked = ("decode", "moe", "attention", "fp8")
    assert tuple(choose(operation, GPU).chosen.name for operation in asked) == chosen


def test_the_reason_against_steps_says_what_was_tried(card):
    card((8, 9), cuda="13.0")
    reason = "needs compute capability 9.0 or newer, and was tried on 9.0 only"
    assert choose("decode", GPU).passed_over[0][1] == reason


def test_what_other_kernels_do_as_well(card):
    card((9, 0), cuda="13.0")
    choices = choose_all(GPU)
    in_steps = {"decode": "cuda"}
    assert within("norm", choices) == in_steps
    assert within("sampling", choices) == {}  # CUDA, too
    assert within("rope", choices) == in_steps | {"kv_write": "triton"}
    assert within("routing", choices) == in_steps | {"moe": "cuda"}
    assert within("decode", choices) == within("int8", choices) == {}
    assert within("moe", choices) == {}  # CUDA, too
    card((8, 0), cuda="13.0")
    assert within("routing", choose_all(GPU)) == within("sampling", choose_all(GPU)) == {}


def test_what_is_included_is_an_operation():
    for implementations in backend.IMPLEMENTATIONS.values():
        for implementation in implementations:
            assert implementation.includes <= set(backend.IMPLEMENTATIONS)
