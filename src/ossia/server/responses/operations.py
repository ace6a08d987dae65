"""What the OpenAPI document says of the routes of the Responses API."""

from __future__ import annotations

from typing import Final

from ossia.server.openapi.answers import ListPage
from ossia.server.openapi.operation import Link, Operation, Query
from ossia.server.paging import page_query
from ossia.server.responses.answers import (
    Compaction,
    DeletedResponse,
    InputTokens,
    Response,
    StoredItem,
)
from ossia.server.responses.schemas import CompactRequest, PromptRequest, ResponseRequest

NOTES_HEADER: Final = "x-ossia-left-out"
"""Says which tools and items of a request were left out."""

_TAG: Final = "Responses"
_BOOLEAN: Final = {"type": "boolean", "default": False}
_WEATHER: Final = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}

INCLUDE: Final = Query(
    "include[]",
    {"type": "array", "items": {"type": "string"}},
    "`reasoning.encrypted_content` adds sealed reasoning; other values change nothing.",
)

CREATE: Final = Operation(
    name="createResponse",
    summary="Answer a conversation.",
    tag=_TAG,
    body=(ResponseRequest,),
    answer=Response,
    events="those of the hosted API, from `response.created` on, then `[DONE]`.",
    examples={
        "plain": {"input": "What is the weather in Oslo?"},
        "background": {"input": "Hi", "background": True},
        "stream": {"input": "Hi", "stream": True},
        "tools": {"input": "Is it cold in Oslo?", "tools": [_WEATHER], "tool_choice": "auto"},
    },
    headers={NOTES_HEADER: "Which tools and items of the request were left out."},
    links={
        "retrieve": Link("getResponse", "response_id"),
        "cancel": Link("cancelResponse", "response_id"),
        "inputItems": Link("listInputItems", "response_id"),
        "delete": Link("deleteResponse", "response_id"),
    },
    asks_model=True,
)
COUNT: Final = Operation(
    name="countInputTokens",
    summary="Tell how long a prompt is.",
    tag=_TAG,
    body=(PromptRequest,),
    answer=InputTokens,
    examples={"plain": {"input": "Hi"}},
    refuses=(404, 503),
)
COMPACT: Final = Operation(
    name="compactResponse",
    summary="Make a long conversation short.",
    tag=_TAG,
    body=(CompactRequest,),
    answer=Compaction,
    examples={"plain": {"input": "Hi"}},
    headers={NOTES_HEADER: "Which items of the request were left out."},
    refuses=(422,),
    asks_model=True,
)
RETRIEVE: Final = Operation(
    name="getResponse",
    summary="Retrieve a response, or its stream from some event on.",
    tag=_TAG,
    answer=Response,
    events="those of the response, then `[DONE]`.",
    query=(
        INCLUDE,
        Query("stream", _BOOLEAN, "Give its events; it must have been streamed or in background."),
        Query(
            "starting_after",
            {"type": "integer", "minimum": 0, "maximum": 2**53},
            "The number of the last event that is known already.",
        ),
        Query("include_obfuscation", _BOOLEAN, "Pad the events of a stream."),
    ),
)
DELETE: Final = Operation(
    name="deleteResponse", summary="Delete a response.", tag=_TAG, answer=DeletedResponse
)
CANCEL: Final = Operation(
    name="cancelResponse",
    summary="End a response that is made in the background.",
    tag=_TAG,
    answer=Response,
)
INPUT_ITEMS: Final = Operation(
    name="listInputItems",
    summary="List the items that a response answers.",
    tag=_TAG,
    answer=ListPage[StoredItem],
    query=(*page_query(), INCLUDE),
)
