"""Steps on the wire: the outputs of all requests and the engine's counters in one frame.

    counters u64 each · number of outputs u32 · a record for each output · what is beside a token

A record has 24 bytes, so that a token costs the server little more than its TokenOutput. What only
some outputs have (log-probabilities, errors) follows behind the records, in their order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import astuple, fields
from functools import lru_cache
from itertools import chain
from typing import Any

from ossia.engine.stats import EngineStats
from ossia.errors import RequestError
from ossia.server.engine.wire import MAX_PAYLOAD, Kind, frame
from ossia.types import FinishReason, Request, TokenLogprob, TokenOutput

_STATS = struct.Struct(f"<{len(fields(EngineStats))}Q")
_COUNT = struct.Struct("<I")
_RECORD = struct.Struct("<QiIBBBxI")
"""key, token id or -1, cached tokens, index, finish, what is beside it, bytes of that."""
_LOGPROB = struct.Struct("<Id")
_NUM_TOP = struct.Struct("<H")  # 0 stands for None; else one more than there are

_HAS_LOGPROB, _HAS_PROMPT_LOGPROBS, _HAS_ERROR = 1, 2, 4
_REASONS = (None, *FinishReason)
_REASON_CODES = {reason: code for code, reason in enumerate(_REASONS)}
_MAX_ERROR = 4096  # bytes of a message
_ROOM = MAX_PAYLOAD - _STATS.size - _COUNT.size


def check_fits(request: Request) -> None:
    """Refuse a request whose outputs no frame can hold.

    Raises:
        RequestError: too many log-probabilities are asked for.
    """
    num_top = request.sampling.prompt_logprobs
    if num_top is None:
        return
    nbytes = len(request.prompt_ids) * (_NUM_TOP.size + _LOGPROB.size * (1 + num_top))
    if nbytes > _ROOM // 2:
        raise RequestError(
            f"{num_top} for each of {len(request.prompt_ids)} tokens are {nbytes} bytes, more than "
            f"{_ROOM // 2}; ask for fewer",
            field="prompt_logprobs",
        )


def step_frames(outputs: Sequence[TokenOutput], stats: EngineStats) -> Iterator[bytes]:
    """The frame of a step, or several where one cannot hold all.

    Args:
        outputs: Their request ids are keys in digits.
        stats: The counters after the step.
    """
    counters = _STATS.pack(*astuple(stats))
    records: list[bytes] = []
    beside: list[bytes] = []
    size = 0
    for output in outputs:
        has = _what_more(output)
        extra = _pack_beside(output) if has else b""
        if size + _RECORD.size + len(extra) > _ROOM:
            yield frame(Kind.STEP, counters, _COUNT.pack(len(records)), *records, *beside)
            records, beside, size = [], [], 0
        records.append(_pack_record(output, has, len(extra)))
        if extra:
            beside.append(extra)
        size += _RECORD.size + len(extra)
    yield frame(Kind.STEP, counters, _COUNT.pack(len(records)), *records, *beside)


def read_stats(payload: bytes) -> EngineStats:
    """The counters in a STEP."""
    names = (field.name for field in fields(EngineStats))
    return EngineStats(**dict(zip(names, _STATS.unpack_from(payload), strict=True)))


def read_outputs(payload: bytes, request_ids: dict[int, str]) -> Iterator[tuple[int, TokenOutput]]:
    """The outputs in a STEP, with their keys.

    Args:
        payload: Of the frame.
        request_ids: By key. Outputs of other keys are left out: nobody listens.
    """
    (count,) = _COUNT.unpack_from(payload, _STATS.size)
    start = _STATS.size + _COUNT.size
    beside = start + count * _RECORD.size
    for key, token_id, cached, index, reason, has, length in _RECORD.iter_unpack(
        memoryview(payload)[start:beside]
    ):
        place, beside = beside, beside + length
        request_id = request_ids.get(key)
        if request_id is None:
            continue
        more = _read_beside(payload[place:beside], has) if has else {}
        yield (
            key,
            TokenOutput(
                request_id=request_id,
                index=index,
                token_id=None if token_id < 0 else token_id,
                finish_reason=_REASONS[reason],
                cached_tokens=cached,
                **more,
            ),
        )


def _what_more(output: TokenOutput) -> int:
    """Which fields do not fit a record; 0 for most outputs."""
    return (
        _HAS_LOGPROB * (output.logprob is not None)
        | _HAS_PROMPT_LOGPROBS * (output.prompt_logprobs is not None)
        | _HAS_ERROR * (output.error is not None)
    )


def _pack_record(output: TokenOutput, has: int, length: int) -> bytes:
    return _RECORD.pack(
        int(output.request_id),
        -1 if output.token_id is None else output.token_id,
        output.cached_tokens,
        output.index,
        _REASON_CODES[output.finish_reason],
        has,
        length,
    )


def _pack_beside(output: TokenOutput) -> bytes:
    parts: list[bytes] = []
    if output.logprob is not None:
        parts.append(_pack_logprob(output.logprob))
    if output.prompt_logprobs is not None:
        parts.append(_COUNT.pack(len(output.prompt_logprobs)))
        parts += map(_pack_logprob, output.prompt_logprobs)
    if output.error is not None:
        parts.append(output.error.encode("utf-8", "replace")[:_MAX_ERROR])
    return b"".join(parts)


def _read_beside(packed: bytes, has: int) -> dict[str, Any]:
    """The fields of an output that are beside its record."""
    more: dict[str, Any] = {}
    place = 0
    if has & _HAS_LOGPROB:
        more["logprob"], place = _read_logprob(packed, place)
    if has & _HAS_PROMPT_LOGPROBS:
        (count,) = _COUNT.unpack_from(packed, place)
        place += _COUNT.size
        scored: list[TokenLogprob | None] = []
        for _ in range(count):
            one, place = _read_logprob(packed, place)
            scored.append(one)
        more["prompt_logprobs"] = tuple(scored)
    if has & _HAS_ERROR:
        more["error"] = packed[place:].decode("utf-8", "replace")
    return more


def _pack_logprob(logprob: TokenLogprob | None) -> bytes:
    if logprob is None:
        return _NUM_TOP.pack(0)
    flat = chain.from_iterable(logprob.top)
    packed = _top_struct(len(logprob.top)).pack(logprob.token_id, logprob.logprob, *flat)
    return _NUM_TOP.pack(len(logprob.top) + 1) + packed


def _read_logprob(packed: bytes, place: int) -> tuple[TokenLogprob | None, int]:
    """The log-probability at a place, and the place behind it."""
    (num_top,) = _NUM_TOP.unpack_from(packed, place)
    place += _NUM_TOP.size
    if num_top == 0:
        return None, place
    layout = _top_struct(num_top - 1)
    token_id, logprob, *flat = layout.unpack_from(packed, place)
    top = tuple(zip(flat[::2], flat[1::2], strict=True))
    return TokenLogprob(token_id, logprob, top), place + layout.size


@lru_cache(maxsize=128)
def _top_struct(num_top: int) -> struct.Struct:
    return struct.Struct("<" + "Id" * (num_top + 1))
