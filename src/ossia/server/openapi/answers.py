"""Models of what is answered. They describe it; what is sent is made elsewhere, and held to them by tests."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

Item = TypeVar("Item", bound=BaseModel)


class AnswerModel(BaseModel):
    """Base of all answers: nothing is in them that is not described."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class EchoModel(BaseModel):
    """Base of what clients sent once and get back, with whatever else they put into it."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class ErrorDetails(AnswerModel):
    """Why a request was refused; `param` is the path of the field that is to blame."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(AnswerModel):
    """A refusal, in the hosted API's shape."""

    error: ErrorDetails


class ListPage(AnswerModel, Generic[Item]):
    """A page of a list."""

    object: Literal["list"]
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool
