"""ShardWriter: safetensors files written tensor by tensor, and their index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import torch

from ossia.checkpoint.folder import INDEX_SUFFIX
from ossia.checkpoint.names import StoredTensor
from ossia.checkpoint.safetensors_file import DTYPE_NAMES
from ossia.checkpoint.spec import ITEM_BYTES

STEM = "model"

_LENGTH_BYTES = 8
_ALIGNMENT = 64
_METADATA = {"__metadata__": {"format": "pt"}}  # transformers refuses files without it
_OFFSET_DIGITS = 16


class ShardWriter:
    """Writes tensors to `model*.safetensors` in a folder, one shard after the other.

    A header stands before its data, but is known only after it. So room for the largest possible
    header is left at the start of each shard and what remains of it is filled with the blanks
    that the format allows.

    Args:
        folder: Where to write; must exist.
        stored: All tensors that will come, to size the header by.
        max_shard_bytes: A shard is closed before a tensor that would make its data larger.
    """

    def __init__(self, folder: Path, stored: dict[str, StoredTensor], max_shard_bytes: int) -> None:
        self._folder = folder
        self._max_shard_bytes = max_shard_bytes
        self._header_bytes = _header_room(stored)
        self._shards: list[dict[str, Any]] = []
        self._file: BinaryIO | None = None
        self._position = 0

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Append one tensor."""
        dtype = DTYPE_NAMES[tensor.dtype]
        nbytes = tensor.numel() * ITEM_BYTES[dtype]
        full = self._position > 0 and self._position + nbytes > self._max_shard_bytes
        # Readers view the data in place, so a tensor must not start inside one of its items.
        if self._file is None or full or self._position % ITEM_BYTES[dtype]:
            self._end_shard()
            file = self._begin_shard()
        else:
            file = self._file
        raw = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        file.write(raw.numpy().data)
        self._shards[-1][name] = {
            "dtype": dtype,
            "shape": list(tensor.shape),
            "data_offsets": [self._position, self._position + nbytes],
        }
        self._position += nbytes

    def finish(self) -> None:
        """End the last shard, give the files their final names and write the index."""
        self._end_shard()
        count = len(self._shards)
        if count == 1:
            self._part(1).rename(self._folder / f"{STEM}.safetensors")
            return
        weight_map: dict[str, str] = {}
        for number, entries in enumerate(self._shards, start=1):
            name = f"{STEM}-{number:05d}-of-{count:05d}.safetensors"
            self._part(number).rename(self._folder / name)
            weight_map |= dict.fromkeys(entries, name)
        ends = (entry["data_offsets"] for entries in self._shards for entry in entries.values())
        total = sum(end - begin for begin, end in ends)
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        text = json.dumps(index, indent=2) + "\n"
        (self._folder / f"{STEM}{INDEX_SUFFIX}").write_text(text, encoding="utf-8")

    def close(self) -> None:
        """Close the file at hand; for when writing failed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin_shard(self) -> BinaryIO:
        self._shards.append({})
        self._position = 0
        self._file = self._part(len(self._shards)).open("wb")
        self._file.seek(_LENGTH_BYTES + self._header_bytes)
        return self._file

    def _end_shard(self) -> None:
        if self._file is None:
            return
        header = json.dumps(_METADATA | self._shards[-1], separators=(",", ":")).encode()
        assert len(header) <= self._header_bytes, (len(header), self._header_bytes)
        self._file.seek(0)
        self._file.write(self._header_bytes.to_bytes(_LENGTH_BYTES, "little"))
        self._file.write(header.ljust(self._header_bytes))
        self.close()

    def _part(self, number: int) -> Path:
        return self._folder / f"{STEM}-{number:05d}.part"


def _header_room(stored: dict[str, StoredTensor]) -> int:
    """Bytes of the header if all tensors went into one shard, up to the next aligned start."""
    largest = 10**_OFFSET_DIGITS
    entries = {
        name: {
            "dtype": max(tensor.dtypes, key=len),
            "shape": list(tensor.shape),
            "data_offsets": [largest, largest],
        }
        for name, tensor in stored.items()
    }
    needed = _LENGTH_BYTES + len(json.dumps(_METADATA | entries, separators=(",", ":")))
    return -(-needed // _ALIGNMENT) * _ALIGNMENT - _LENGTH_BYTES
