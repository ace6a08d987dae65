"""ApiError: a refusal or failure as a client is told of it, in the hosted API's shape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from ossia.errors import (
    CapacityError,
    ContextLengthError,
    EngineClosedError,
    HarmonyError,
    OssiaError,
    RequestError,
    StoreError,
    StoreUnreachableError,
)

INVALID_REQUEST = "invalid_request_error"
SERVER_ERROR = "server_error"
_PROMPT = "prompt_ids"  # what the engine calls the prompt


class ApiError(Exception):
    """What is answered in place of a result.

    Args:
        message: One line that says what to change.
        status: HTTP status.
        kind: The `type` of the error object.
        code: Machine-readable reason; None where the hosted API has none.
        param: Path of the offending field, such as `input[0].content`.
        retry_after: Seconds after which asking again may help.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = INVALID_REQUEST,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after = retry_after

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: `{"error": {...}}`."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }

    @classmethod
    def not_found(
        cls, message: str, *, param: str | None = None, code: str | None = None
    ) -> ApiError:
        """404."""
        return cls(message, status=404, param=param, code=code)

    @classmethod
    def overloaded(cls, message: str, *, retry_after: float = 1.0) -> ApiError:
        """429: the queue is full."""
        return cls(
            message,
            status=429,
            kind="rate_limit_error",
            code="rate_limit_exceeded",
            retry_after=retry_after,
        )

    @classmethod
    def unavailable(cls, message: str, *, retry_after: float = 1.0) -> ApiError:
        """503: no model is ready, or the server is about to end."""
        return cls(
            message, status=503, kind=SERVER_ERROR, code="unavailable", retry_after=retry_after
        )

    @classmethod
    def internal(cls, message: str = "the server failed; its log says why") -> ApiError:
        """500."""
        return cls(message, status=500, kind=SERVER_ERROR, code="server_error")

    @classmethod
    def of(cls, error: BaseException) -> ApiError:
        """Any exception as a client may be told of it; unknown ones say nothing of the inside."""
        match error:
            case ApiError():
                return error
            case ContextLengthError():
                return cls(str(error), code="context_length_exceeded", param=error.field)
            case CapacityError():
                return cls(str(error), code="capacity_exceeded", param=error.field)
            case RequestError():
                return cls(str(error), param=error.field)
            case HarmonyError():
                return cls(str(error))
            case EngineClosedError():
                return cls(str(error), status=500, kind=SERVER_ERROR, code="server_error")
            case StoreUnreachableError():
                return cls.unavailable("the store of responses is away; ask again")
            case StoreError():
                return cls.internal("the store of responses failed; the server's log says why")
            case OssiaError():
                return cls(str(error))
            case _:
                return cls.internal()


@contextmanager
def prompt_in(field: str) -> Iterator[None]:
    """What is said against a prompt is said of the field in which the client gave it."""
    try:
        yield
    except ApiError as error:
        if error.param == _PROMPT:
            error.param = field
            error.message = error.message.replace(_PROMPT, field, 1)
        elif error.param is None and error.status == HTTPStatus.BAD_REQUEST:
            error.param = field  # it cannot be written in the model's format
        raise
