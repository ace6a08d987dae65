"""Reports on the wire: what is said rarely, as JSON."""

from __future__ import annotations

import struct
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from ossia import errors
from ossia.errors import EngineClosedError, OssiaError, RequestError
from ossia.server.engine.wire import Kind, frame

_KEY = struct.Struct("<Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What a loaded model can do.

    Args:
        max_context: Tokens of prompt and output together at most.
        vocab_size: Ids that it has logits for.
        max_running: Continuations that run side by side.
        device: Where it runs, in torch's words.
    """

    max_context: int
    vocab_size: int
    max_running: int
    device: str


def ready_frame(ready: Ready) -> bytes:
    """The frame that says that requests are taken."""
    return frame(Kind.READY, orjson.dumps(asdict(ready)))


def read_ready(payload: bytes) -> Ready:
    """What a READY says."""
    return Ready(**orjson.loads(payload))


def found_frame(name: str, folder: Path | None) -> bytes:
    """The frame that says where the model's files are.

    Args:
        name: As the user gave it.
        folder: None for random weights, whose tokenizer is the package's.
    """
    return frame(Kind.FOUND, orjson.dumps([name, None if folder is None else str(folder)]))


def read_found(payload: bytes) -> tuple[str, Path | None]:
    """The name and the folder in a FOUND."""
    name, folder = orjson.loads(payload)
    return name, None if folder is None else Path(folder)


def progress_frame(what: str, done: int, total: int) -> bytes:
    """The frame that says how far something is."""
    return frame(Kind.PROGRESS, orjson.dumps([what, done, total]))


def read_progress(payload: bytes) -> tuple[str, int, int]:
    """What is under way in a PROGRESS, how much of it is done, and how much there is."""
    what, done, total = orjson.loads(payload)
    return what, done, total


def failed_frame(error: OssiaError) -> bytes:
    """The frame that says why the model cannot be loaded."""
    return frame(Kind.FAILED, _error_to_json(error))


def read_failed(payload: bytes) -> OssiaError:
    """The error in a FAILED."""
    return _error_from_json(payload)


def accepted_frame(key: int) -> bytes:
    """The frame that says that a request is queued."""
    return frame(Kind.ACCEPTED, _KEY.pack(key))


def read_accepted(payload: bytes) -> int:
    """The key in an ACCEPTED."""
    return _KEY.unpack(payload)[0]


def refused_frame(key: int, error: OssiaError) -> bytes:
    """The frame that says why a request is not."""
    return frame(Kind.REFUSED, _KEY.pack(key), _error_to_json(error))


def read_refused(payload: bytes) -> tuple[int, OssiaError]:
    """The key and the error in a REFUSED."""
    return _KEY.unpack_from(payload)[0], _error_from_json(payload[_KEY.size :])


def _error_to_json(error: OssiaError) -> bytes:
    message, field = str(error), None
    if isinstance(error, RequestError):
        field = error.field
        message = message.removeprefix(f"{field}: ")
    message = message.encode("utf-8", "replace").decode()  # no lone surrogates in JSON
    return orjson.dumps({"type": type(error).__name__, "message": message, "field": field})


def _error_from_json(payload: bytes) -> OssiaError:
    raw = orjson.loads(payload)
    kind = getattr(errors, raw["type"], EngineClosedError)
    if issubclass(kind, RequestError):
        return kind(raw["message"], field=raw["field"])
    return kind(raw["message"])
