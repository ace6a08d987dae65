"""save_model: a model's weights and config into a folder, beside whatever else is there."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ossia.checkpoint.folder import INDEX_SUFFIX
from ossia.checkpoint.head import Head
from ossia.checkpoint.writer import write_checkpoint
from ossia.config import ModelConfig
from ossia.errors import CheckpointError


def save_model(
    folder: Path,
    config: ModelConfig,
    tensors: Iterable[tuple[str, torch.Tensor]],
    *,
    head: Head,
    raw_config: Mapping[str, Any],
    generation_config: Mapping[str, Any],
    max_shard_bytes: int,
) -> None:
    """Write a checkpoint into a folder; other files there stay, older weights do not.

    Everything is written and read back in a folder inside first, so that a failure leaves what was
    there.

    Args:
        folder: Made if need be.
        config: Shape of the decoder.
        tensors: Under canonical names.
        head: What is on top of the decoder.
        raw_config: Content of config.json.
        generation_config: Content of generation_config.json; empty for none.
        max_shard_bytes: Size at which files are split.

    Raises:
        CheckpointError: tensors that are not those of the config, or a disk that refuses.
    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError("is a file; choose a folder to write to", file=folder)
    partial = folder / f".saving.{secrets.token_hex(4)}"
    try:
        write_checkpoint(
            partial,
            config,
            tensors,
            head=head,
            raw_config=raw_config,
            generation_config=generation_config,
            max_shard_bytes=max_shard_bytes,
        )
        old = [*folder.glob("model*.safetensors"), *folder.glob(f"*{INDEX_SUFFIX}")]
        new = list(partial.iterdir())
        for path in new:
            path.replace(folder / path.name)
        for path in old:
            if path.name not in {written.name for written in new}:
                path.unlink()
    except OSError as error:
        place = error.filename or folder
        raise CheckpointError(f"cannot be written: {error.strerror}", file=place) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
