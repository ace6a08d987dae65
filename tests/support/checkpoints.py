"""Small checkpoints on disk, and ways to look into and damage their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from ossia.checkpoint.names import Layout
from ossia.checkpoint.random_weights import random_tensors
from ossia.checkpoint.reader import Checkpoint
from ossia.checkpoint.writer import write_checkpoint
from ossia.config import ModelConfig, RopeScaling

Header = dict[str, Any]


def tiny_config(**changes: object) -> ModelConfig:
    """Two layers, four MXFP4 experts, a vocabulary of 60; every dimension differs."""
    shape: dict[str, object] = {
        "num_hidden_layers": 2,
        "num_experts": 4,
        "experts_per_token": 2,
        "vocab_size": 60,
        "hidden_size": 64,
        "intermediate_size": 32,
        "head_dim": 8,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "sliding_window": 4,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    return ModelConfig(**(shape | changes))  # type: ignore[arg-type]


@st.composite
def tiny_configs(draw: st.DrawFn) -> ModelConfig:
    """Shapes of both expert formats that either layout can express."""
    packed = draw(st.booleans())
    unit = 32 if packed else draw(st.sampled_from([3, 8]))
    kv_heads = draw(st.integers(1, 3))
    num_experts = draw(st.integers(1, 5))
    original_context = draw(st.sampled_from([16, 4096]))
    return tiny_config(
        num_hidden_layers=draw(st.integers(1, 3)),
        num_experts=num_experts,
        experts_per_token=draw(st.integers(1, num_experts)),
        vocab_size=draw(st.integers(1, 40)),
        hidden_size=unit * draw(st.integers(1, 3)),
        intermediate_size=unit * draw(st.integers(1, 3)),
        head_dim=draw(st.sampled_from([2, 8])),
        num_attention_heads=kv_heads * draw(st.integers(1, 3)),
        num_key_value_heads=kv_heads,
        max_position_embeddings=4 * original_context,
        rope_scaling=RopeScaling(factor=4.0, original_max_position_embeddings=original_context),
        expert_format="mxfp4" if packed else "dense",
    )


def write_tiny(
    folder: Path, config: ModelConfig | None = None, layout: Layout = "hf", **options: Any
) -> Path:
    """A checkpoint of random weights."""
    config = config or tiny_config()
    return write_checkpoint(folder, config, random_tensors(config), layout=layout, **options)


def tensor_bytes(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Every tensor's dtype, shape and data, by canonical name."""
    return {
        name: f"{tensor.dtype}{tuple(tensor.shape)}".encode() + raw_bytes(tensor)
        for name, tensor in checkpoint.items()
    }


def raw_bytes(tensor: torch.Tensor) -> bytes:
    """A tensor's data in row-major order."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def split_file(path: Path) -> tuple[Header, bytes]:
    """A safetensors file's header and data."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def join_file(path: Path, header: Header | bytes, data: bytes) -> None:
    """Write a safetensors file without any check."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)


def edit_header(path: Path, edit: Callable[[Header], None]) -> None:
    """Change a safetensors file's header, leaving its data as it is."""
    header, data = split_file(path)
    edit(header)
    join_file(path, header, data)


def edit_json(path: Path, **changes: object) -> None:
    """Set keys of a JSON file; an Ellipsis removes one."""
    raw = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))
