"""Loading: what is refused before it is tried, and what is told meanwhile."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ossia.api import room
from ossia.api.loading import load_module, open_tensors
from ossia.api.model_source import find_model
from ossia.errors import CapacityError
from ossia.machine import Memory
from ossia.model.heads import CausalLM
from support.folders import write_tiny_folder


@pytest.fixture
def little_memory(monkeypatch):
    """A machine with one megabyte free."""
    memory = Memory("RAM", "cpu", 10**9, 10**6)
    monkeypatch.setattr(room, "machine_memory", lambda: (memory,))


def test_what_cannot_be_allocated_is_refused(little_memory, tmp_path):
    with pytest.raises(CapacityError, match=r"random:120b takes 65\.2 GB, cpu has 0\.0 GB free"):
        load_module(CausalLM, find_model("random:120b"))
    source = find_model(str(write_tiny_folder(tmp_path / "model")))
    with pytest.raises(CapacityError, match="take a smaller model or another device"):
        load_module(CausalLM, source, dtype="float32")
    # Views on the files need no memory of their own.
    assert load_module(CausalLM, source).lm_head.weight.dtype == torch.bfloat16


def test_progress_counts_tensors(tmp_path):
    source = find_model(str(write_tiny_folder(tmp_path / "model")))
    told = []
    module = load_module(CausalLM, source, progress=lambda *words: told.append(words))
    count = len(list(module.parameters()))
    assert told == [(f"loading {source.name}", done, count) for done in range(1, count + 1)]


def test_random_weights_have_the_dtype_asked_for():
    source = find_model("random:tiny")
    module = load_module(CausalLM, source, dtype="float32")
    assert module.model.norm.weight.dtype == torch.float32
    with open_tensors(source) as (config, tensors):
        assert config == source.random_config
        assert dict(tensors)["lm_head.weight"].dtype == torch.bfloat16


def test_loading_does_not_wake_the_compiler(tmp_path):
    folder = write_tiny_folder(tmp_path / "model")
    code = (
        "import sys\n"
        "from ossia.api.models.causal_lm import GptOssForCausalLM\n"
        f"model = GptOssForCausalLM.from_pretrained({str(folder)!r})\n"
        "assert not any(param.is_meta for param in model.parameters())\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
