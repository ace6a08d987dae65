"""Operation: what the document says of a route; ApiRoute: a route that has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.routing import Route

from ossia.server.openapi.answers import ErrorAnswer

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter of the query.

    Args:
        name: Of the parameter.
        schema: JSON schema of its value.
        about: What it does.
        style: How an object or a list is written, in OpenAPI's words; None is OpenAPI's default.
    """

    name: str
    schema: JsonObject
    about: str
    style: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """Where what was made can be found: another operation, for the id in this one's answer.

    Args:
        operation: The other operation's name.
        parameter: Its parameter that takes the id.
        pointer: JSON pointer to the id in the answer.
    """

    operation: str
    parameter: str
    pointer: str = "/id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What the document says of a route.

    Args:
        name: Unique; programs that generate clients name their functions by it.
        summary: One line.
        tag: The group it belongs to.
        answer: What a 200 holds; None is text of `media_type`.
        media_type: Of that answer.
        body: What is sent; any of these models.
        examples: Bodies that are answered as they stand, by name.
        events: What a stream of server-sent events holds; None where nothing is streamed.
        query: Parameters of the query.
        headers: Further headers of the answer, and what they say.
        links: What can be done with what was made, by name.
        others: Answers of other statuses that are no refusals.
        error: The shape of refusals by the route.
        refuses: Statuses of refusals besides those that every route has.
        asks_model: Whether the model must be ready, so that the server may be too busy.
    """

    name: str
    summary: str
    tag: str
    answer: type[BaseModel] | None = None
    media_type: str = "application/json"
    body: tuple[type[BaseModel], ...] = ()
    examples: Mapping[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    events: str | None = None
    query: tuple[Query, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    links: Mapping[str, Link] = field(default_factory=dict[str, Link])
    others: Mapping[int, type[BaseModel]] = field(default_factory=dict[int, type[BaseModel]])
    error: type[BaseModel] = ErrorAnswer
    refuses: tuple[int, ...] = ()
    asks_model: bool = False


class ApiRoute(Route):
    """A route for one method that says what it does.

    Args:
        path: As Starlette takes it.
        endpoint: Answers it.
        operation: What the document says of it.
        method: GET also answers HEAD.
    """

    def __init__(
        self, path: str, endpoint: Callable[..., Any], operation: Operation, *, method: str = "GET"
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.method = method
        self.operation = operation
