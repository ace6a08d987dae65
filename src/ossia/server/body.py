"""Request bodies: bounded, strict JSON, into a pydantic model; what is wrong is said by its path."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from ossia.server.api_error import ApiError
from ossia.server.settings import ServerSettings

MAX_DEPTH = 128  # of nested objects and lists; schemas are written by recursion


class RequestModel(BaseModel):
    """Base of all request bodies: no conversions, unknown members ignored.

    Every optional field must take None, since clients write null for what they leave out.
    """

    model_config = ConfigDict(extra="ignore", strict=True, protected_namespaces=())


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
    return validated(await read_json(request), model)


async def read_json(request: Request) -> dict[str, Any]:
    """The object that a request's body holds; errors as in `parse`."""
    settings: ServerSettings = request.app.state.settings
    try:
        async with asyncio.timeout(settings.body_timeout):
            raw = await _read(request, settings.max_body_bytes)
    except TimeoutError:
        raise ApiError("the request body did not arrive in time", status=408) from None
    return decoded(raw)


def decoded(raw: bytes) -> dict[str, Any]:
    """The object that JSON text holds.

    Raises:
        ApiError: it is no UTF-8, no JSON, no object, or nested too deeply.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(f"the request body is no valid JSON: {error}", code="invalid_json") from None
    if not isinstance(body, dict):
        raise ApiError("the request body must be a JSON object", code="invalid_json")
    if _deeper_than(body, MAX_DEPTH):
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
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
    except ClientDisconnect:
        raise ApiError("the request body ends too early") from None
    return b"".join(chunks)


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
    # Of a union's errors, one for each member, the deepest is about the member that was meant.
    details = error.errors(include_url=False, include_input=False, include_context=False)
    detail = max(details, key=lambda one: len(one["loc"]))
    path = _path(detail, body)
    if prefix is not None:
        path = f"{prefix}{'' if path.startswith('[') or not path else '.'}{path}"
    if detail["type"] == "missing":
        code = "missing_required_parameter"
        return ApiError(f"Missing required parameter: '{path}'.", param=path, code=code)
    return ApiError(
        f"Invalid value for '{path or 'body'}': {_said(detail['msg'])}.", param=path or None
    )


def _said(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message[:1].lower() + message[1:].rstrip(".")


def _path(detail: ErrorDetails, body: object) -> str:
    """`messages[0].content`; names that pydantic gives to members of unions are left out."""
    path, value = "", body
    last = len(detail["loc"]) - 1
    for position, step in enumerate(detail["loc"]):
        if isinstance(step, int):
            if not isinstance(value, Sequence) or isinstance(value, str):
                continue
            path += f"[{step}]"
            value = value[step] if step < len(value) else None
        elif isinstance(value, dict) and (
            step in value or (position == last and detail["type"] == "missing")
        ):
            path += f".{step}" if path else step
            value = value.get(step)
    return path
