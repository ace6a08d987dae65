"""Checkpoint folders with random weights and the real vocabulary, small enough for a test."""

from __future__ import annotations

from pathlib import Path

from ossia.checkpoint.random_weights import random_tensors
from ossia.checkpoint.writer import write_checkpoint
from ossia.config import ModelConfig


def tiny_config(**changes: object) -> ModelConfig:
    """One layer of each type, 4 experts, hidden 32, the real 201,088 ids."""
    shape: dict[str, object] = {
        "num_hidden_layers": 2,
        "num_experts": 4,
        "experts_per_token": 2,
        "hidden_size": 32,
        "intermediate_size": 32,
        "head_dim": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "sliding_window": 8,
    }
    return ModelConfig(**(shape | changes))  # type: ignore[arg-type]


def write_tiny_folder(folder: Path, **changes: object) -> Path:
    """A checkpoint folder without a tokenizer; the package's own is used with it."""
    config = tiny_config(**changes)
    return write_checkpoint(folder, config, random_tensors(config))
