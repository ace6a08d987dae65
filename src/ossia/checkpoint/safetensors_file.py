"""SafetensorsFile: one file's header, checked, and its tensors as views on a memory map.

The format: eight bytes of little-endian header length, a JSON object {name: {dtype, shape,
data_offsets}}, then the data without gaps (https://github.com/huggingface/safetensors#format).
Read here rather than by the library because its errors name neither file nor tensor, and because
a private map without reserved memory lets a machine open a file larger than its memory.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import torch

from ossia.checkpoint.spec import ITEM_BYTES
from ossia.errors import CheckpointError

TORCH_DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "U8": torch.uint8,
}
DTYPE_NAMES = {dtype: name for name, dtype in TORCH_DTYPES.items()}

_LENGTH_BYTES = 8
_MAX_HEADER = 100_000_000  # the format's own limit
_LFS_POINTER = b"version https://git-lfs"
# Python names this flag from 3.13 on; 0x4000 is its value on Linux for x86 and Arm.
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor's line in a header; `begin` and `end` count from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes of data."""
        return self.end - self.begin


class SafetensorsFile:
    """A safetensors file whose header holds together.

    Args:
        path: The file. Its header is read; the data is mapped, not read.

    Raises:
        CheckpointError: truncated, a Git LFS pointer, or a header that contradicts the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                header = _read_header(path, size, file)
                self._data_start = _LENGTH_BYTES + len(header)
                self.entries = _parse_entries(path, header, size - self._data_start)
                self._map = _map_file(file)
        except OSError as error:
            raise CheckpointError(f"cannot be read: {error.strerror}", file=path) from error

    def get(self, name: str) -> torch.Tensor:
        """A tensor as a view on the file: pages are read when touched, writes stay private.

        Its storage is its own stretch of the file. If all shared one, saving or pickling a single
        tensor would write the whole file, and torch refuses to save one storage of many dtypes.
        """
        entry = self.entries[name]
        dtype, begin = TORCH_DTYPES[entry.dtype], self._data_start + entry.begin
        if not entry.nbytes:
            return torch.empty(entry.shape, dtype=dtype)
        data = torch.frombuffer(self._map, dtype=torch.uint8, offset=begin, count=entry.nbytes)
        if begin % ITEM_BYTES[entry.dtype]:
            data = data.clone()  # torch cannot view bytes at an odd address as wider numbers
        return data.view(dtype).view(entry.shape)


def _map_file(file: BinaryIO) -> mmap.mmap:
    """The whole file. The map lives as long as any tensor that views it."""
    if hasattr(mmap, "MAP_PRIVATE"):
        flags = mmap.MAP_PRIVATE | _NO_RESERVE
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        return mmap.mmap(file.fileno(), 0, flags=flags, prot=protection)
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _read_header(path: Path, size: int, file: BinaryIO) -> bytes:
    length_bytes = file.read(_LENGTH_BYTES)
    if length_bytes == _LFS_POINTER[:_LENGTH_BYTES]:
        raise CheckpointError(
            "is a Git LFS pointer, not the weights; run `git lfs pull` or `ossia pull`", file=path
        )
    if len(length_bytes) < _LENGTH_BYTES:
        raise CheckpointError(
            f"has {size} bytes, too few for weights; download it again", file=path
        )
    length = int.from_bytes(length_bytes, "little")
    if length > _MAX_HEADER:
        raise CheckpointError(
            "is no safetensors file: its header length is absurd; download it again", file=path
        )
    if length > size - _LENGTH_BYTES:
        raise CheckpointError(
            f"is truncated: header of {length} bytes, file of {size}; download it again", file=path
        )
    return file.read(length)


def _parse_entries(path: Path, header: bytes, data_size: int) -> dict[str, TensorEntry]:
    try:
        raw = json.loads(header, object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) else "nested too deep"
        raise CheckpointError(
            f"has an unreadable header ({reason}); download it again", file=path
        ) from error
    if not isinstance(raw, dict):
        raise CheckpointError("has a header that is no JSON object; download it again", file=path)
    raw.pop("__metadata__", None)
    entries = {name: _parse_entry(path, name, fields) for name, fields in raw.items()}
    _check_data(path, entries, data_size)
    return entries


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        repeated = counts.most_common(1)[0][0]
        raise ValueError(f"{repeated!r} occurs twice")
    return unique


def _parse_entry(path: Path, name: str, fields: Any) -> TensorEntry:  # noqa: ANN401
    def fault(message: str) -> CheckpointError:
        return CheckpointError(message, file=path, tensor=name)

    if not name.isprintable():
        raise CheckpointError(f"has a tensor named {name!r}", file=path)
    if not isinstance(fields, dict):
        raise fault("header entry is no JSON object")
    dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise fault(f"dtype is {dtype!r}; gpt-oss checkpoints hold {', '.join(ITEM_BYTES)}")
    if not _are_counts(shape):
        raise fault(f"shape is {shape!r}")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise fault(f"data_offsets are {offsets!r}")
    begin, end = offsets
    if end - begin != math.prod(shape) * ITEM_BYTES[dtype]:
        raise fault(f"{dtype} of shape {shape} does not fill the {end - begin} bytes given to it")
    return TensorEntry(name, dtype, tuple(shape), begin, end)


def _are_counts(value: Any) -> TypeGuard[list[int]]:  # noqa: ANN401
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_data(path: Path, entries: dict[str, TensorEntry], data_size: int) -> None:
    """The tensors must tile the data: no gap, no overlap, nothing beyond the end."""
    in_order = sorted(entries.values(), key=lambda entry: (entry.begin, entry.end))
    beyond = next((entry for entry in in_order if entry.end > data_size), None)
    if beyond is not None:
        raise CheckpointError(
            f"ends at byte {beyond.end} of {data_size}: the file is truncated; download it again",
            file=path,
            tensor=beyond.name,
        )
    position = 0
    for entry in in_order:
        if entry.begin != position:
            what = "overlaps the tensor before it" if entry.begin < position else "follows a gap"
            raise CheckpointError(f"data {what}; download it again", file=path, tensor=entry.name)
        position = entry.end
    if position != data_size:
        raise CheckpointError(
            f"has {data_size - position} bytes that belong to no tensor; download it again",
            file=path,
        )
