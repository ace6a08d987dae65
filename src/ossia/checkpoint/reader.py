"""Checkpoint: the tensors of a folder under their canonical names, as views on its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from ossia.checkpoint.config_file import read_model_config
from ossia.checkpoint.folder import CheckpointFolder, find_checkpoint
from ossia.checkpoint.head import Head, head_of
from ossia.checkpoint.names import (
    Layout,
    StoredTensor,
    layout_of,
    stored_tensors,
    with_prefix,
)
from ossia.checkpoint.safetensors_file import SafetensorsFile, TensorEntry
from ossia.checkpoint.spec import TensorSpec, tensor_specs
from ossia.config import ModelConfig
from ossia.errors import CheckpointError

_PACKED_EXPERTS = {
    "hf": (".gate_up_proj_blocks", ".down_proj_blocks"),
    "original": (".mlp1_weight.blocks", ".mlp2_weight.blocks"),
}
_DENSE_EXPERTS = {
    "hf": (".experts.gate_up_proj", ".experts.down_proj"),
    "original": (".mlp1_weight", ".mlp2_weight"),
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a canonical tensor lies: `rows` of a stored tensor, or all of it."""

    file: SafetensorsFile
    stored: StoredTensor
    spec: TensorSpec
    rows: slice


class Checkpoint:
    """An open checkpoint, wholly checked from its headers. Made by `open_checkpoint`.

    `get` copies nothing that torch can view: tensors are views on private memory maps, which
    outlive the checkpoint for as long as a tensor uses them; those at odd addresses, which no usual
    writer produces, are copied. A context manager.

    Attributes:
        folder: Where config.json and the weights lie.
        config: The model's shape; `expert_format` is what the files hold.
        layout: "hf" or "original".
        head: What is on top of the decoder.
        raw_config: config.json as it is.
        names: Canonical tensor names, in the order in which a model uses them.
        nbytes: Bytes of all tensors.
    """

    def __init__(
        self,
        folder: Path,
        config: ModelConfig,
        layout: Layout,
        head: Head,
        raw_config: dict[str, Any],
        places: dict[str, _Place],
    ) -> None:
        self.folder = folder
        self.head = head
        self.raw_config = raw_config
        self.config = config
        self.layout: Layout = layout
        self.names = tuple(places)
        self._places = places
        self.nbytes = sum(self.spec(name).nbytes for name in places)

    def get(self, name: str) -> torch.Tensor:
        """One tensor, on the CPU, of the dtype that the file has.

        Args:
            name: Canonical name.

        Returns:
            A view; writing to it does not reach the file.

        Raises:
            KeyError: not a tensor of this model.
            CheckpointError: the checkpoint was closed.
        """
        place = self._place(name)
        tensor = place.file.get(place.stored.name)[place.rows]
        return tensor.mT if place.stored.transposed else tensor

    def items(self) -> Iterator[tuple[str, torch.Tensor]]:
        """All tensors with their canonical names, one at a time."""
        for name in self.names:
            yield name, self.get(name)

    def spec(self, name: str) -> TensorSpec:
        """What the table says of a tensor, with the one dtype that the file has."""
        place = self._place(name)
        return replace(place.spec, dtypes=(place.file.entries[place.stored.name].dtype,))

    def close(self) -> None:
        """Let go of the files; tensors already handed out stay valid."""
        self._places = {}

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _place(self, name: str) -> _Place:
        if not self._places:
            raise CheckpointError("was closed; open it again", file=self.folder)
        return self._places[name]


def open_checkpoint(folder: Path | str, rename: Callable[[str], str] | None = None) -> Checkpoint:
    """Open a checkpoint of either layout and check all of it that headers can tell.

    Args:
        folder: Hugging Face folder, `original` folder, or a folder that has the latter inside;
            one safetensors file or any number, with or without an index.
        rename: Gives the name that a tensor should have had, from the one in the file.

    Raises:
        ModelNotFoundError: no such folder.
        ConfigError: config.json is missing, broken, contradictory or not of gpt-oss.
        CheckpointError: weights that are unreadable or are not what config.json promises; names
            file and tensor.
    """
    found = find_checkpoint(Path(folder))
    files = [SafetensorsFile(path) for path in found.weights]
    owners = _merge(files)
    if found.index is not None and found.index_file is not None:
        _check_against_index(found.index_file, found.index, owners)
    bare = not any(name.startswith(("model.", "block.")) for name in owners)
    for change in (rename, with_prefix if bare else None):
        if change is not None:
            owners = _renamed(files, change)
    layout = _detect_layout(found, owners)
    config = _settle_expert_format(found, layout, owners)
    head = head_of(found.raw_config)
    stored = stored_tensors(config, layout, head)
    _check_against_table(found, stored, owners)
    places = _places(config, head, stored, owners)
    return Checkpoint(found.path, config, layout, head, found.raw_config, places)


def _merge(files: list[SafetensorsFile]) -> dict[str, SafetensorsFile]:
    """Every tensor's file."""
    owners: dict[str, SafetensorsFile] = {}
    for file in files:
        for name in file.entries:
            if name in owners:
                raise CheckpointError(
                    f"is in {owners[name].path.name} too; remove the file that does not belong",
                    file=file.path,
                    tensor=name,
                )
            owners[name] = file
    return owners


def _renamed(
    files: list[SafetensorsFile], rename: Callable[[str], str]
) -> dict[str, SafetensorsFile]:
    for file in files:
        names = {name: rename(name) for name in file.entries}
        if len(set(names.values())) < len(names):
            raise CheckpointError("has two tensors that would get one name", file=file.path)
        file.entries = {names[name]: entry for name, entry in file.entries.items()}
    return _merge(files)


def _check_against_index(
    index_file: Path, index: dict[str, str], owners: dict[str, SafetensorsFile]
) -> None:
    for name, file_name in index.items():
        if name not in owners or owners[name].path.name != file_name:
            raise CheckpointError(
                f"is not in {file_name}, where the index puts it", file=index_file, tensor=name
            )
    for name, file in owners.items():
        if name not in index:
            raise CheckpointError(
                f"is in {file.path.name}, but not in the index", file=index_file, tensor=name
            )


def _detect_layout(found: CheckpointFolder, owners: dict[str, SafetensorsFile]) -> Layout:
    layouts: set[Layout] = {layout for name in owners if (layout := layout_of(name)) is not None}
    if len(layouts) > 1:
        raise CheckpointError(
            "mixes tensors of the hf and the original layout; keep one", file=found.path
        )
    if not layouts:
        raise CheckpointError(
            "holds no tensors of gpt-oss; is this another model, or an adapter?", file=found.path
        )
    return layouts.pop()


def _settle_expert_format(
    found: CheckpointFolder, layout: Layout, owners: dict[str, SafetensorsFile]
) -> ModelConfig:
    """The config, once it and the files agree on how experts are stored."""
    packed = next((name for name in owners if name.endswith(_PACKED_EXPERTS[layout])), None)
    dense = next((name for name in owners if name.endswith(_DENSE_EXPERTS[layout])), None)

    def fault(name: str, message: str) -> CheckpointError:
        return CheckpointError(message, file=owners[name].path, tensor=name)

    if packed is not None and owners[packed].entries[packed].dtype != "U8":
        raise fault(
            packed,
            "holds plain floats under the name of MXFP4 blocks, as transformers 5 saves dequantised "
            "models; make it again from its source with `ossia convert`",
        )
    if packed is not None and dense is not None:
        raise fault(dense, "is dense while other experts are MXFP4; a checkpoint has one format")
    found_format = "mxfp4" if dense is None else "dense"
    config = read_model_config(found.raw_config, found_format, found.config_file)
    config_name = found.config_file.name
    if config.expert_format == "mxfp4" and dense is not None:
        raise fault(
            dense, f"is dense, but {config_name} says mxfp4; drop quantization_config there"
        )
    if config.expert_format == "dense" and packed is not None:
        raise fault(
            packed,
            f"is MXFP4, but {config_name} has no quantization_config; restore the one it came with",
        )
    return config


def _check_against_table(
    found: CheckpointFolder, stored: dict[str, StoredTensor], owners: dict[str, SafetensorsFile]
) -> None:
    for name, file in owners.items():
        if name not in stored:
            raise CheckpointError(
                "is no tensor of this model; does config.json belong to it?",
                file=file.path,
                tensor=name,
            )
        _check_entry(file, file.entries[name], stored[name])
    missing = [name for name in stored if name not in owners]
    if missing:
        others = f", as are {len(missing) - 1} others" if len(missing) > 1 else ""
        raise CheckpointError(
            f"is missing{others}; is a weights file missing, or config.json another model's?",
            file=found.path,
            tensor=missing[0],
        )


def _check_entry(file: SafetensorsFile, entry: TensorEntry, stored: StoredTensor) -> None:
    if entry.shape != stored.shape:
        raise CheckpointError(
            f"has shape {list(entry.shape)}, config.json implies {list(stored.shape)}",
            file=file.path,
            tensor=entry.name,
        )
    if entry.dtype not in stored.dtypes:
        raise CheckpointError(
            f"has dtype {entry.dtype}, expected {' or '.join(stored.dtypes)}",
            file=file.path,
            tensor=entry.name,
        )


def _places(
    config: ModelConfig,
    head: Head,
    stored: dict[str, StoredTensor],
    owners: dict[str, SafetensorsFile],
) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    for name, tensor in stored.items():
        start = 0
        for spec in tensor.parts:
            rows = slice(start, start + spec.shape[0])
            places[spec.name] = _Place(owners[name], tensor, spec, rows)
            start = rows.stop
    return {name: places[name] for name in tensor_specs(config, head)}
