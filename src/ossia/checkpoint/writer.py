"""write_checkpoint: canonical tensors to a folder of either layout that is known to read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ossia.checkpoint.atomic_folder import atomic_folder
from ossia.checkpoint.config_file import CONFIG_FILE
from ossia.checkpoint.head import LANGUAGE_MODEL, Head
from ossia.checkpoint.names import Layout, StoredTensor, stored_tensors
from ossia.checkpoint.reader import open_checkpoint
from ossia.checkpoint.safetensors_file import DTYPE_NAMES
from ossia.checkpoint.shards import ShardWriter
from ossia.checkpoint.spec import TensorSpec
from ossia.config import ModelConfig
from ossia.errors import CheckpointError
from ossia.types import ProgressCallback

MAX_SHARD_BYTES = 5_000_000_000

_GENERATION_FILE = "generation_config.json"
# What the released models carry: sample, and end at <|return|>, <|endoftext|> or <|call|>.
_GENERATION = {
    "bos_token_id": 199_998,
    "do_sample": True,
    "eos_token_id": [200_002, 199_999, 200_012],
    "pad_token_id": 199_999,
}
_HARMONY_VOCAB = 200_019  # ids that o200k_harmony defines


def write_checkpoint(
    folder: Path | str,
    config: ModelConfig,
    tensors: Mapping[str, torch.Tensor] | Iterable[tuple[str, torch.Tensor]],
    *,
    layout: Layout = "hf",
    head: Head = LANGUAGE_MODEL,
    raw_config: Mapping[str, Any] | None = None,
    generation_config: Mapping[str, Any] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    side_files: Iterable[Path] = (),
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> Path:
    """Write a checkpoint; the folder appears only when it is complete and opens again.

    Tensors are written as they come, so that memory holds about one of them at a time.

    Args:
        folder: Where to; created. It must not exist, or be empty, or see `overwrite`.
        config: The model's shape and expert format.
        tensors: All tensors of the model under canonical names, in any order, on any device.
        layout: "hf", which transformers reads, or "original", which the reference reads.
        head: What is on top of the decoder.
        raw_config: What config.json is to hold; None makes it from `config`.
        generation_config: What generation_config.json is to hold; None makes that of the released
            models (in the hf layout), an empty one writes no file.
        max_shard_bytes: Files are split so that none holds more data, unless one tensor does.
        side_files: Files to copy along, such as the tokenizer.
        overwrite: Replace a checkpoint that is there already; it stays if writing fails.
        progress: Called with ("writing", tensors written, tensors in all).

    Returns:
        The folder.

    Raises:
        CheckpointError: the tensors are not those of the config, the folder is in the way, or the
            disk refuses.
        ConfigError: the layout cannot express the config.
    """
    folder = Path(folder)
    if raw_config is None:
        raw_config = config.to_hf() if layout == "hf" else config.to_original()
    pairs: Iterable[tuple[str, torch.Tensor]]
    pairs = tensors.items() if isinstance(tensors, Mapping) else tensors  # pyright: ignore[reportAssignmentType]
    with atomic_folder(folder, replaces=CONFIG_FILE if overwrite else None) as partial:
        stored = stored_tensors(config, layout, head)
        _write_weights(partial, stored, pairs, max_shard_bytes, progress)
        _write_json(partial / CONFIG_FILE, raw_config)
        if generation_config is None and layout == "hf":
            generation_config = _generation_config(config)
        if generation_config:
            _write_json(partial / _GENERATION_FILE, generation_config)
        for path in side_files:
            shutil.copyfile(path, partial / path.name)
        open_checkpoint(partial).close()
    return folder


def _write_weights(
    folder: Path,
    stored: dict[str, StoredTensor],
    pairs: Iterable[tuple[str, torch.Tensor]],
    max_shard_bytes: int,
    progress: ProgressCallback | None,
) -> None:
    shards = ShardWriter(folder, stored, max_shard_bytes)
    try:
        for done, (name, tensor) in enumerate(_assemble(stored, pairs), start=1):
            shards.write(name, tensor)
            if progress is not None:
                progress("writing", done, len(stored))
        shards.finish()
    finally:
        shards.close()


def _assemble(
    stored: dict[str, StoredTensor], pairs: Iterable[tuple[str, torch.Tensor]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """Check canonical tensors and join them to stored ones, each as soon as its parts are there."""
    homes = {part.name: (home, part) for home in stored.values() for part in home.parts}
    waiting: dict[str, dict[str, torch.Tensor]] = {}
    seen: set[str] = set()
    for name, tensor in pairs:
        if name not in homes:
            raise CheckpointError("is no tensor of this model", tensor=name)
        if name in seen:
            raise CheckpointError("was given twice", tensor=name)
        seen.add(name)
        home, part = homes[name]
        _check_tensor(tensor, part, home)
        parts = waiting.setdefault(home.name, {})
        parts[name] = tensor
        if len(parts) == len(home.parts):
            yield home.name, _join(home, waiting.pop(home.name))
    missing = [name for name in homes if name not in seen]
    if missing:
        others = f", as are {len(missing) - 1} others" if len(missing) > 1 else ""
        raise CheckpointError(f"was not given{others}", tensor=missing[0])


def _check_tensor(tensor: torch.Tensor, part: TensorSpec, home: StoredTensor) -> None:
    if tuple(tensor.shape) != part.shape:
        raise CheckpointError(
            f"has shape {list(tensor.shape)}, the config implies {list(part.shape)}",
            tensor=part.name,
        )
    dtype = DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype))
    if dtype not in home.dtypes:
        raise CheckpointError(
            f"has dtype {dtype}; this layout stores it as {' or '.join(home.dtypes)}",
            tensor=part.name,
        )


def _join(home: StoredTensor, parts: dict[str, torch.Tensor]) -> torch.Tensor:
    tensors = [parts[part.name] for part in home.parts]
    joined = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    return joined.mT if home.transposed else joined


def _generation_config(config: ModelConfig) -> dict[str, Any]:
    """The released content; for another vocabulary, the ids that the model's config has."""
    if config.vocab_size >= _HARMONY_VOCAB:
        return _GENERATION
    own = {name: getattr(config, name) for name in _GENERATION if name != "do_sample"}
    return {"do_sample": True} | {name: value for name, value in own.items() if value is not None}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(dict(value), indent=2) + "\n", encoding="utf-8")
