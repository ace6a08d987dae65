"""Requests on the wire: a JSON header with the ids of the prompt packed beside it.

key u64 · length of the header u32 · header · prompt ids u32 each
"""

from __future__ import annotations

import math
import struct
import sys
import time
from array import array
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import orjson

from ossia.api.turn_masks import BoundMasks, TurnMasks
from ossia.errors import RequestError
from ossia.server.engine.wire import MAX_PAYLOAD, Kind, frame
from ossia.types import Request, SamplingParams

_HEAD = struct.Struct("<QI")
_SAMPLING_FIELDS = tuple(field.name for field in fields(SamplingParams))
_ID_RANGE = "a token id from 0 to 4294967295"


def submit_frame(key: int, request: Request, *, now: float | None = None) -> bytes:
    """The frame that asks for a request.

    Args:
        key: The request's on this connection.
        request: Its deadline travels as the seconds that are left.
        now: `time.monotonic()` value from which they count.

    Raises:
        RequestError: a field holds what cannot travel; names it.
    """
    seconds = request.deadline - (time.monotonic() if now is None else now)
    header = {
        "sampling": {name: getattr(request.sampling, name) for name in _SAMPLING_FIELDS},
        "seconds": None if math.isinf(seconds) and seconds > 0 else max(0.0, seconds),
        "priority": int(request.priority),
        "cache_salt": request.cache_salt,
        "make_mask": _masks(request),
    }
    parts = {name: _to_json(value, name) for name, value in header.items()}
    head = orjson.dumps({name: orjson.Fragment(part) for name, part in parts.items()})
    ids = _pack_ids(request.prompt_ids)
    if len(head) + len(ids) > MAX_PAYLOAD // 2:
        raise RequestError(f"{len(request.prompt_ids)} tokens are too many", field="prompt_ids")
    return frame(Kind.SUBMIT, _HEAD.pack(key, len(head)), head, ids)


def read_key(payload: bytes) -> int:
    """Which request a SUBMIT is about."""
    return _HEAD.unpack_from(payload)[0]


def read_submit(payload: bytes) -> tuple[Request, TurnMasks | None]:
    """The request in a SUBMIT, and what its masks are to be made of.

    The request's own id is its key in digits, its deadline counts on this process's clock, and it
    has no `make_mask` yet.

    Raises:
        RequestError: a field's value is out of range; names it.
    """
    key, length = _HEAD.unpack_from(payload)
    header: dict[str, Any] = orjson.loads(payload[_HEAD.size : _HEAD.size + length])
    sampling = dict(header["sampling"])
    bias = sampling["logit_bias"]
    sampling["logit_bias"] = {int(token_id): value for token_id, value in bias.items()}
    seconds, masks = header["seconds"], header["make_mask"]
    request = Request(
        request_id=str(key),
        prompt_ids=tuple(_unpack_ids(payload[_HEAD.size + length :])),
        sampling=SamplingParams(**sampling),
        deadline=math.inf if seconds is None else time.monotonic() + seconds,
        priority=header["priority"],
        cache_salt=header["cache_salt"],
    )
    return request, None if masks is None else TurnMasks.from_dict(masks)


def abort_frame(keys: Iterable[int]) -> bytes:
    """The frame that ends requests."""
    return frame(Kind.ABORT, _little_endian(array("Q", keys)).tobytes())


def read_abort(payload: bytes) -> list[int]:
    """The keys in an ABORT."""
    keys = array("Q")
    keys.frombytes(payload)
    return _little_endian(keys).tolist()


def _masks(request: Request) -> dict[str, Any] | None:
    if request.make_mask is None:
        return None
    if not isinstance(request.make_mask, BoundMasks):
        raise RequestError(
            "an engine in another process takes BoundMasks only, no other callable",
            field="make_mask",
        )
    return request.make_mask.masks.to_dict()


def _to_json(value: object, field: str) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    except TypeError as error:  # lone surrogates, integers of more than 64 bits, foreign objects
        raise RequestError(f"cannot be sent to the engine: {error}", field=field) from error


def _pack_ids(token_ids: tuple[int, ...]) -> bytes:
    try:
        return _little_endian(array("I", token_ids)).tobytes()
    except (TypeError, OverflowError) as error:
        strange = next(one for one in token_ids if type(one) is not int or not 0 <= one < 2**32)
        raise RequestError(f"{strange!r} is not {_ID_RANGE}", field="prompt_ids") from error


def _unpack_ids(packed: bytes) -> list[int]:
    ids = array("I")
    ids.frombytes(packed)
    return _little_endian(ids).tolist()


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
