"""Frames: what the server and its engine process say to each other over a pair of pipes.

A frame is four bytes of length, one byte of kind, and so many bytes of payload; all numbers are
little-endian. Nothing is pickled. What the payloads hold is said by `request_frames`,
`step_frames` and `reports`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

MAX_PAYLOAD = 128 * 2**20
"""Bytes in a frame behind its head; a length beyond it means that the two do not understand
each other."""

_HEAD = struct.Struct("<IB")


class Kind(IntEnum):
    """What a frame is about."""

    # To the engine.
    SUBMIT = 1  # a request
    ABORT = 2  # keys of requests that nobody listens to any more
    # From the engine.
    FOUND = 16  # where the model's files are; its tokenizer can be read
    PROGRESS = 17  # how far something long is
    READY = 18  # the model is loaded; requests are taken from now on
    FAILED = 19  # the model cannot be loaded
    ACCEPTED = 20  # the key of a request that is queued
    REFUSED = 21  # the key of one that is not, and why
    STEP = 22  # everything that one step produced, and the engine's counters


class WireError(RuntimeError):
    """Bytes that are no frame; the other side is not the program that it should be."""


def frame(kind: Kind, *parts: bytes) -> bytes:
    """A frame of a payload given in parts.

    Raises:
        WireError: the payload is too large.
    """
    length = sum(map(len, parts))
    if length > MAX_PAYLOAD:
        raise WireError(f"a payload of {length} bytes exceeds {MAX_PAYLOAD}")
    return b"".join((_HEAD.pack(length, kind), *parts))


class FrameSplitter:
    """Cuts what comes out of a pipe into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """The kinds and payloads of the frames that are complete with this.

        Raises:
            WireError: a length or kind that no frame has.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _HEAD.size:
                length, kind = _HEAD.unpack_from(buffer, start)
                if length > MAX_PAYLOAD or kind not in _KINDS:
                    raise WireError(f"no frame is of kind {kind} with {length} bytes")
                end = start + _HEAD.size + length
                if end > len(buffer):
                    break
                payload = bytes(memoryview(buffer)[start + _HEAD.size : end])
                start = end
                yield _KINDS[kind], payload
        finally:
            del buffer[:start]


_KINDS = {kind.value: kind for kind in Kind}
