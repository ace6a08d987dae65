"""CheckpointFolder: which files of a folder are the checkpoint. Reads JSON, no tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossia.checkpoint.config_file import CONFIG_FILE, read_json_object
from ossia.errors import CheckpointError, ConfigError, ModelNotFoundError

INDEX_SUFFIX = ".safetensors.index.json"
ORIGINAL_FOLDER = "original"

# What travels with the weights: the tokenizer, the chat template, and how to generate.
SIDE_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
)

_FOREIGN = {
    ".gguf": "holds GGUF files; Ossia reads safetensors, get them with `ossia pull`",
    ".bin": "holds pickled .bin weights; Ossia reads safetensors, get them with `ossia pull`",
    ".pt": "holds pickled .pt weights; Ossia reads safetensors, get them with `ossia pull`",
    ".pth": "holds pickled .pth weights; Ossia reads safetensors, get them with `ossia pull`",
}


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """The files of one checkpoint.

    Args:
        path: Where config.json and the weights lie; may be the `original` folder of the one asked
            for.
        raw_config: config.json as it is.
        weights: The safetensors files, by name.
        index: Tensor name to file name, where an index file says so.
        index_file: That index file.
    """

    path: Path
    raw_config: dict[str, Any]
    weights: tuple[Path, ...]
    index: dict[str, str] | None
    index_file: Path | None

    @property
    def config_file(self) -> Path:
        """The config.json in use."""
        return self.path / CONFIG_FILE


def find_side_file(folder: Path, name: str) -> Path | None:
    """A file that travels with the weights; `original` folders keep theirs one level up."""
    places = [folder, folder.parent] if folder.resolve().name == ORIGINAL_FOLDER else [folder]
    return next((place / name for place in places if (place / name).is_file()), None)


def find_checkpoint(folder: Path) -> CheckpointFolder:
    """Find config and weights in a folder, or in its `original` folder if it has none itself.

    Raises:
        ModelNotFoundError: no such folder.
        CheckpointError: no weights, weights of another format, or an index that names files that
            are not there.
        ConfigError: config.json is missing or is no JSON object.
    """
    if not folder.exists():
        raise ModelNotFoundError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise CheckpointError("is a file; give the folder that holds it", file=folder)
    if not _holds_weights(folder):
        if not _holds_weights(folder / ORIGINAL_FOLDER):
            raise CheckpointError(_explain_no_weights(folder), file=folder)
        folder = folder / ORIGINAL_FOLDER
    raw_config = read_json_object(folder / CONFIG_FILE, ConfigError)
    index_file, index = _read_index(folder)
    present = sorted(folder.glob("*.safetensors"))
    if index is not None and index_file is not None:
        _check_index(index_file, index, present)
    return CheckpointFolder(folder, raw_config, tuple(present), index, index_file)


def _holds_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(folder.glob(f"*{INDEX_SUFFIX}"))


def _explain_no_weights(folder: Path) -> str:
    files = [path for path in folder.iterdir() if path.is_file()]
    if not files:
        return "holds no files; download a checkpoint with `ossia pull`"
    for path in files:
        if path.suffix in _FOREIGN:
            return _FOREIGN[path.suffix]
    return "holds no .safetensors files; download them with `ossia pull`"


def _read_index(folder: Path) -> tuple[Path | None, dict[str, str] | None]:
    indices = sorted(folder.glob(f"*{INDEX_SUFFIX}"))
    if not indices:
        return None, None
    if len(indices) > 1:
        names = " and ".join(path.name for path in indices[:2])
        raise CheckpointError(f"holds {names}; keep the one that belongs", file=folder)
    weight_map = read_json_object(indices[0], CheckpointError).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in weight_map.values()
    ):
        raise CheckpointError("has no weight_map of tensor to file names", file=indices[0])
    return indices[0], weight_map


def _check_index(index_file: Path, index: dict[str, str], present: list[Path]) -> None:
    listed, found = set(index.values()), {path.name for path in present}
    if missing := sorted(listed - found):
        tensor = next(tensor for tensor, name in index.items() if name == missing[0])
        raise CheckpointError(
            f"names {missing[0]}, which is not there; download it again",
            file=index_file,
            tensor=tensor,
        )
    if extra := sorted(found - listed):
        raise CheckpointError(
            f"does not name {extra[0]}, which lies beside it; remove that file", file=index_file
        )
