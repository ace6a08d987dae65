"""Request bodies: bounded, strict JSON, into a pydantic model; what is wrong is said by its path."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails
from starlette.requests import ClientDisconnect, Request

from ossia.server.api_error import ApiError
from ossia.server.error_codes import code_of
from ossia.server.guards.request_ids import record_of
from ossia.server.ignored import ignored_names
from ossia.server.settings import ServerSettings

_LONGEST_NAME = 64  # of a member, in a path that is shown; clients can choose some of them
MAX_DEPTH = 128  # of nested objects and lists; schemas are written by recursion
MAX_BRACKETS = 2**18  # that open objects and lists: each costs fifty times its size in memory
_LARGE = 2**20  # bytes from which a body is read beside the event loop


def _fail_fast(schema: object) -> None:
    """Let lists and dicts end at the first error, in a core schema as deep as it goes."""
    if isinstance(schema, list | tuple):
        for one in schema:
            _fail_fast(one)
    elif isinstance(schema, dict):
        if schema.get("type") in ("list", "dict"):
            schema["fail_fast"] = True
        for name, one in schema.items():
            if name != "metadata":
                _fail_fast(one)


class RequestModel(BaseModel):
    """Base of all request bodies: no conversions, unknown members ignored.

    Every optional field must take None, since clients write null for what they leave out.
    """

    model_config = ConfigDict(extra="ignore", strict=True, protected_namespaces=())

    @classmethod
    def __get_pydantic_core_schema__(
        cls,
        source: type[BaseModel],
        handler: GetCoreSchemaHandler,
    ) -> CoreSchema:
        """As usual, but what is wrong in a list or an object is said once, not a million times."""
        schema = handler(source)
        _fail_fast(schema)
        return schema


Model = TypeVar("Model", bound=BaseModel)


async def parse(request: Request, model: type[Model]) -> Model:
    """Read and check a request's body.

    Args:
        request: Its application's `state.settings` bound the size.
        model: What the body must be.

    Raises:
        ApiError: 400 for what it says, 408 if it does not come, 413 if it is too large, 415 if it
            is compressed.
    """
    return taken(request, await read_json(request), model)


def taken(request: Request, body: dict[str, Any], model: type[Model]) -> Model:
    """A request's body as a model; the header of the answer tells what of it is not known.

    Raises:
        ApiError: as `validated`.
    """
    record_of(request.scope).ignored = ignored_names(body, model)
    return validated(body, model)


async def read_json(request: Request) -> dict[str, Any]:
    """The object that a request's body holds; errors as in `parse`."""
    settings: ServerSettings = request.app.state.settings
    try:
        async with asyncio.timeout(settings.body_timeout):
            raw = await _read(request, settings.max_body_bytes)
    except TimeoutError:
        raise ApiError("the request body did not arrive in time", status=408) from None
    return await asyncio.to_thread(decoded, raw) if len(raw) > _LARGE else decoded(raw)


def decoded(raw: bytes) -> dict[str, Any]:
    """The object that JSON text holds.

    Raises:
        ApiError: it is no UTF-8, no JSON, no object, or nested too deeply or too often.
    """
    num_brackets = raw.count(b"[") + raw.count(b"{")
    if num_brackets > MAX_BRACKETS:
        raise ApiError(
            f"the request body holds more than {MAX_BRACKETS} of '[' and '{{'", code="invalid_json"
        )
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(f"the request body is no valid JSON: {error}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise ApiError("the request body must be a JSON object", code="invalid_json")
    if num_brackets > MAX_DEPTH and _deeper_than(body, MAX_DEPTH):
        raise ApiError(
            f"the request body is nested more than {MAX_DEPTH} levels deep", code="invalid_json"
        )
    return body


def validated(body: dict[str, Any], model: type[Model], prefix: str | None = None) -> Model:
    """An object as a model.

    Args:
        body: What JSON text held.
        model: What it must be.
        prefix: Path of the object in what the client has sent.

    Raises:
        ApiError: 400; `param` is the path of the first thing that is wrong.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise _refusal(error, body, prefix) from None


async def _read(request: Request, limit: int) -> bytes:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise ApiError(f"bodies in {encoding[:40]!r} encoding are not taken", status=415)
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise _too_large(limit)
    except ClientDisconnect:
        raise ApiError("the request body ends too early") from None
    return bytes(body)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        f"the request body is larger than {limit} bytes", status=413, code="request_too_large"
    )


def _deeper_than(value: object, limit: int) -> bool:
    level: list[object] = [value]
    for _ in range(limit):
        below: list[object] = []
        for one in level:
            if isinstance(one, dict):
                below += one.values()
            elif isinstance(one, list):
                below += one
        level = [one for one in below if isinstance(one, dict | list)]
        if not level:
            return False
    return True


def _refusal(error: ValidationError, body: object, prefix: str | None) -> ApiError:
    # Of a union's errors, one for each member, the deepest is about the member that was meant;
    # but what is too long is of the right kind.
    details = error.errors(include_url=False, include_input=False)
    detail = max(details, key=lambda one: (one["type"] == "too_long", len(one["loc"])))
    path = _path(detail, body)
    if prefix is not None:
        path = f"{prefix}{'' if path.startswith('[') or not path else '.'}{path}"
    code = code_of(detail)
    if detail["type"] == "missing":
        return ApiError(f"Missing required parameter: '{path}'.", param=path, code=code)
    message = f"Invalid value for '{path or 'body'}': {_said(detail['msg'])}."
    return ApiError(message, param=path or None, code=code)


def _said(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message[:1].lower() + message[1:].rstrip(".")


def _path(detail: ErrorDetails, body: object) -> str:
    """`messages[0].content`; names that pydantic gives to members of unions are left out."""
    path, value = "", body
    location = detail["loc"]
    if location and location[-1] == "[key]":
        location = location[:-2]  # a name that is no good says nothing of where it stands
    last = len(location) - 1
    for position, step in enumerate(location):
        if isinstance(step, int):
            if not isinstance(value, Sequence) or isinstance(value, str):
                continue
            path += f"[{step}]"
            value = value[step] if step < len(value) else None
        elif isinstance(value, dict) and (
            step in value or (position == last and detail["type"] == "missing")
        ):
            name = step[:_LONGEST_NAME]
            path += f".{name}" if path else name
            value = value.get(step)
    # A union of objects that one of their members tells apart: that member is wrong, or missing.
    tag = detail.get("ctx", {}).get("discriminator")
    return path if tag is None else f"{path}.{tag.strip(chr(39))}"
