"""What the OpenAPI document says of the routes of conversations; and their bodies."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from ossia.server.body import RequestModel
from ossia.server.metadata import Metadata
from ossia.server.openapi.answers import AnswerModel, ListPage
from ossia.server.openapi.described import DescribedAs
from ossia.server.openapi.operation import Link, Operation
from ossia.server.paging import page_query
from ossia.server.responses.answers import StoredItem
from ossia.server.responses.items import InputItem
from ossia.server.responses.operations import INCLUDE

_MAX_ITEMS: Final = 20  # of one request, as the hosted API has it
_TAG: Final = "Conversations"

_Item = Annotated[dict[str, Any], DescribedAs(InputItem)]
_Items = Annotated[list[_Item], Field(max_length=_MAX_ITEMS)]


class NewConversation(RequestModel):
    """The body that makes a conversation; it may be an empty object."""

    items: _Items | None = None
    metadata: Metadata | None = None


class ChangedConversation(RequestModel):
    """The body that changes a conversation."""

    metadata: Metadata


class NewItems(RequestModel):
    """The body that adds items."""

    items: Annotated[_Items, Field(min_length=1)]


class Conversation(AnswerModel):
    """A conversation; its items are listed by another route."""

    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class DeletedConversation(AnswerModel):
    """A conversation that is no longer there."""

    id: str
    object: Literal["conversation.deleted"]
    deleted: Literal[True]


_HI: Final = {"type": "message", "role": "user", "content": "Hi"}

CREATE: Final = Operation(
    name="createConversation",
    summary="Begin a conversation.",
    tag=_TAG,
    body=(NewConversation,),
    answer=Conversation,
    examples={"empty": {}, "items": {"items": [_HI], "metadata": {"topic": "demo"}}},
    links={
        "retrieve": Link("getConversation", "conversation_id"),
        "update": Link("updateConversation", "conversation_id"),
        "delete": Link("deleteConversation", "conversation_id"),
        "addItems": Link("createConversationItems", "conversation_id"),
        "items": Link("listConversationItems", "conversation_id"),
    },
    refuses=(404,),
)
RETRIEVE: Final = Operation(
    name="getConversation",
    summary="Retrieve a conversation.",
    tag=_TAG,
    answer=Conversation,
)
UPDATE: Final = Operation(
    name="updateConversation",
    summary="Replace the metadata of a conversation.",
    tag=_TAG,
    body=(ChangedConversation,),
    answer=Conversation,
)
DELETE: Final = Operation(
    name="deleteConversation",
    summary="Delete a conversation and its items.",
    tag=_TAG,
    answer=DeletedConversation,
)
ADD_ITEMS: Final = Operation(
    name="createConversationItems",
    summary="Add items to a conversation.",
    tag=_TAG,
    body=(NewItems,),
    answer=ListPage[StoredItem],
)
LIST_ITEMS: Final = Operation(
    name="listConversationItems",
    summary="List the items of a conversation.",
    tag=_TAG,
    answer=ListPage[StoredItem],
    query=(*page_query(), INCLUDE),
)
RETRIEVE_ITEM: Final = Operation(
    name="getConversationItem",
    summary="Retrieve an item of a conversation.",
    tag=_TAG,
    answer=StoredItem,
    query=(INCLUDE,),
)
DELETE_ITEM: Final = Operation(
    name="deleteConversationItem",
    summary="Delete an item of a conversation.",
    tag=_TAG,
    answer=Conversation,
)
