"""Devices: those that torch has are taken, the others refused by name; the torch path runs on any of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils import backend_registration

from ossia.api import room
from ossia.api.placement import torch_device
from ossia.api.room import check_bytes
from ossia.bench import subject
from ossia.errors import RequestError
from ossia.machine import Memory
from support.folders import write_tiny_folder

TESTS = Path(__file__).parents[1]
ELSEWHERE = torch.device("mps:0")  # of a kind that is seen as a name only


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_the_processor_is_always_there(device):
    assert torch_device(device) == torch.device("cpu")


def test_auto_is_a_cuda_device_or_the_processor(monkeypatch):
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert torch_device("auto") == torch.device(kind)


def test_a_device_that_keeps_numbers_is_taken(monkeypatch):
    made = []

    def zeros(*size: int, device: torch.device) -> torch.Tensor:
        made.append(device)
        return torch.ones(*size)

    monkeypatch.setattr(torch, "zeros", zeros)
    assert torch_device("mps") == torch.device("mps")
    assert torch_device(torch.device("xpu:1")) == torch.device("xpu:1")
    assert made == [torch.device("mps"), torch.device("xpu:1")]


# How torch says no differs: NotImplementedError, AssertionError, ImportError, and "meta" makes tensors of nothing.
@pytest.mark.parametrize("device", ["meta", "vulkan", "mtia", "hpu", "fpga:3"])
def test_a_device_that_keeps_none_is_refused(device):
    message = f"^device: this torch keeps no numbers on {device}; use auto, cpu or cuda$"
    with pytest.raises(RequestError, match=message):
        torch_device(device)


@pytest.mark.parametrize("device", ["tpu", "", "cuda:x", "gpu:0"])
def test_a_name_that_torch_does_not_know(device):
    with pytest.raises(RequestError, match=r"^device: '.*' is not one of auto, cpu, cuda, cuda:N"):
        torch_device(device)


def test_room_is_looked_at_where_it_is_known(monkeypatch):
    monkeypatch.setattr(room, "machine_memory", lambda: (Memory("RAM", "cpu", 10, 10),))
    check_bytes("a model", 10**12, ELSEWHERE)


def test_only_devices_with_a_known_clock_are_measured(monkeypatch):
    monkeypatch.setattr(subject, "torch_device", torch.device)
    assert subject.measured_device("cpu").type == "cpu"
    with pytest.raises(RequestError, match="device: mps:0 is not measured; use cpu or cuda"):
        subject.measured_device("mps:0")


# All kinds of drawing, over pages; sequences without a cache; and padded ones.
GENERATE = """
import sys
from support import elsewhere
import torch
from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.api.runtime import core_for
from ossia.engine.config import EngineConfig
from ossia.engine.sync_engine import SyncEngine
from ossia.model.batch import ForwardBatch
from ossia.model.heads import CausalLM
from ossia.types import Request, SamplingParams
from ossia import GptOssForCausalLM

WAYS = (
    {"temperature": 0.0},
    {"temperature": 1.0, "seed": 3},
    {"temperature": 1.0, "seed": 4, "top_p": 0.9, "top_k": 50, "min_p": 0.01},
    {"temperature": 0.0, "logprobs": 2, "prompt_logprobs": 1, "repetition_penalty": 1.2},
)

def said(device):
    network = load_module(CausalLM, find_model(sys.argv[1]), device=device)
    assert {param.device.type for param in network.parameters()} == {device}
    with torch.no_grad():
        best = network(ForwardBatch.from_sequences([[1, 2, 3], [4, 5, 6, 7]], device)).argmax(-1)
    engine = SyncEngine(core_for(network, EngineConfig()))
    requests = [
        Request(
            request_id=str(idx),
            prompt_ids=tuple(range(10, 40)),
            sampling=SamplingParams(max_tokens=4, **way),
        )
        for idx, way in enumerate(WAYS)
    ]
    results = [result.continuations[0] for result in engine.generate(requests)]
    assert all(result.error is None for result in results), results
    padded = GptOssForCausalLM.from_pretrained(sys.argv[1], device_map=device)
    prompt = torch.tensor([[1, 2, 3]], device=device)
    beams = padded.generate(prompt, num_beams=2, do_sample=False, max_new_tokens=3)
    drawn = [result.token_ids for result in results]
    return best.tolist(), drawn, results[3].logprobs, beams.tolist()

there, here = said(elsewhere.NAME), said("cpu")
assert there == here, (there, here)
assert all(len(ids) == 4 for ids in there[1])
"""


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch takes no device that is written in Python",
)
def test_models_run_on_a_device_that_is_neither(tmp_path):
    environ = os.environ | {
        "OSSIA_CPU_ISA": "off",  # the same operations of torch's on both sides
        "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
    }
    command = [sys.executable, "-c", GENERATE, str(write_tiny_folder(tmp_path / "model"))]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
