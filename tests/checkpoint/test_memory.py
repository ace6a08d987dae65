"""How much memory writing and reading take, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys
import torch
from ossia.checkpoint.random_weights import random_tensors
from ossia.checkpoint.reader import open_checkpoint
from ossia.checkpoint.spec import tensor_specs
from ossia.checkpoint.writer import write_checkpoint
from ossia.config import ModelConfig

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

torch.set_num_threads(1)
config = ModelConfig(
    num_hidden_layers=12, num_experts=8, vocab_size=2000, hidden_size=1024, intermediate_size=1024,
    num_attention_heads=16, num_key_value_heads=2, eos_token_id=None, pad_token_id=None,
)
list(random_tensors(ModelConfig(  # what the first use of anything takes is not meant
    num_hidden_layers=1, num_experts=4, vocab_size=32, hidden_size=32, intermediate_size=32,
    eos_token_id=None, pad_token_id=None,
)))
start = peak()
folder = write_checkpoint(sys.argv[1], config, random_tensors(config), layout=sys.argv[2])
written = peak()
checkpoint = open_checkpoint(folder)
opened = peak()
kept = [(tensor, tensor.max()) for _, tensor in checkpoint.items()]
print(json.dumps({
    "largest": max(spec.nbytes for spec in tensor_specs(config).values()),
    "file": checkpoint.nbytes,
    "writing": written - start,
    "opening": opened - written,
    "reading": peak() - start,
}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("layout", ["hf", "original"])
def test_peak_memory(tmp_path, layout):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "it"), layout]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    nbytes = json.loads(done.stdout)
    assert nbytes["file"] > 20 * nbytes["largest"]
    assert nbytes["writing"] < 6 * nbytes["largest"]
    assert nbytes["opening"] < nbytes["largest"]
    assert nbytes["reading"] < 1.12 * nbytes["file"]
