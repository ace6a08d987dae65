"""The packed demo file: a config and named arrays, compressed, with a checksum.

    magic (10 bytes) | version (1 byte) | sha256 of the rest (32 bytes) | xz stream of
        header length (4 bytes, little endian) | header (JSON) | arrays one behind the other

The header holds `config` (a Hugging Face config.json) and `arrays`: name, dtype and shape of each,
in file order.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ossia.errors import CheckpointError

VERSION = 1

_MAGIC = b"ossia-demo"
_PREFIX = len(_MAGIC) + 1 + hashlib.sha256().digest_size
# Weights are noise to a compressor: no context helps to predict the next byte.
_FILTERS = [
    {"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 20, "lc": 0, "lp": 0, "pb": 0},
]
_DTYPES = ("int8", "uint8", "uint16", "int32", "float32")

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class PackedModel:
    """What a packed file holds.

    Args:
        config: A Hugging Face config.json.
        arrays: Arrays by name, read-only.
    """

    config: Mapping[str, Any]
    arrays: Mapping[str, Array]


def pack_model(model: PackedModel) -> bytes:
    """The bytes of a packed file; the same model gives the same bytes."""
    listed = [
        {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
        for name, array in model.arrays.items()
    ]
    assert all(entry["dtype"] in _DTYPES for entry in listed)
    header = json.dumps({"config": dict(model.config), "arrays": listed}).encode()
    plain = b"".join(
        [len(header).to_bytes(4, "little"), header]
        + [np.ascontiguousarray(array).tobytes() for array in model.arrays.values()]
    )
    body = lzma.compress(plain, format=lzma.FORMAT_XZ, filters=_FILTERS)
    return _MAGIC + bytes([VERSION]) + hashlib.sha256(body).digest() + body


def unpack_model(packed: bytes, file: object = None) -> PackedModel:
    """Read what `pack_model` wrote.

    Args:
        packed: The file's bytes.
        file: Where they came from, for the error message.

    Raises:
        CheckpointError: not such a file, of another version, or damaged.
    """
    if not packed.startswith(_MAGIC) or len(packed) < _PREFIX:
        raise CheckpointError("not a packed demo model; reinstall ossia", file=file)
    if packed[len(_MAGIC)] != VERSION:
        raise CheckpointError(
            f"packed by version {packed[len(_MAGIC)]} of the format, not {VERSION}; reinstall ossia",
            file=file,
        )
    body = packed[_PREFIX:]
    if hashlib.sha256(body).digest() != checksum(packed):
        raise CheckpointError("its checksum does not match; reinstall ossia", file=file)
    plain = lzma.decompress(body)
    start = 4 + int.from_bytes(plain[:4], "little")
    header = json.loads(plain[4:start])
    arrays: dict[str, Array] = {}
    for entry in header["arrays"]:
        count = math.prod(entry["shape"])
        flat = np.frombuffer(plain, np.dtype(entry["dtype"]), count, start)
        arrays[entry["name"]] = flat.reshape(entry["shape"])
        start += flat.nbytes
    return PackedModel(header["config"], arrays)


def checksum(packed: bytes) -> bytes:
    """The sha256 that a packed file carries; names its content without unpacking it."""
    return packed[len(_MAGIC) + 1 : _PREFIX]
