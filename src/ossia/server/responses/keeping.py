"""Responses into the store: whole, with what led to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette.datastructures import QueryParams

from ossia.errors import StoreError
from ossia.log import logger
from ossia.server.responses.fold import ResponseFold
from ossia.server.responses.intake import Intake
from ossia.server.responses.search_steps import without_step
from ossia.server.responses.visibility import ENCRYPTED
from ossia.server.store import JsonObject, Store, StoredResponse

_log = logger(__name__)


class Keep(Protocol):
    """Stores a response as it stands."""

    async def __call__(self, fold: ResponseFold, events: Sequence[JsonObject] = ()) -> None:
        """Store it, and the events of its stream where others are to read them."""
        ...


def keeper(intake: Intake, store: Store | None, *, whole: bool = False) -> Keep | None:
    """What is to be awaited at the end of a response that is to be kept; None if it is not.

    It is kept with all that belongs to it or not at all, whenever the server ends.

    Args:
        intake: What is answered.
        store: Where to.
        whole: Keep what came before it with it, since that is stored nowhere.
    """
    if store is None or not (intake.response["store"] or intake.request.conversation_id):
        return None

    async def keep(fold: ResponseFold, events: Sequence[JsonObject] = ()) -> None:
        try:
            await _keep(intake, fold, store, events, whole=whole)
        except StoreError as error:
            # The client has its answer all the same.
            _log.error("a response was not kept: %s", error)

    return keep


def as_listed(response: JsonObject, *, sealed: bool) -> JsonObject:
    """A kept response as clients get it later.

    Args:
        response: From the store, where reasoning may stand sealed that clients did not ask for.
        sealed: They ask for it now.
    """
    output = [listed_item(item, sealed=sealed) for item in response["output"]]
    return {**response, "output": output}


def listed_item(item: JsonObject, *, sealed: bool) -> JsonObject:
    """The same for one item."""
    item = without_step(item)
    if sealed or item["type"] != "reasoning":
        return item
    return {name: value for name, value in item.items() if name != "encrypted_content"}


def asks_for_sealed(query: QueryParams) -> bool:
    """Whether a query's `include` names sealed reasoning."""
    return ENCRYPTED in (*query.getlist("include"), *query.getlist("include[]"))


async def _keep(
    intake: Intake,
    fold: ResponseFold,
    store: Store,
    events: Sequence[JsonObject],
    *,
    whole: bool,
) -> None:
    response = fold.kept_response
    request, input_items = intake.request, intake.prompt.input_items
    gained: list[JsonObject] = []
    if request.conversation_id is not None and response["status"] == "completed":
        gained = [*input_items, *response["output"]]
    if response["store"]:
        record = StoredResponse(
            response=response,
            input_items=[*intake.history, *input_items] if whole else input_items,
            previous_response_id=None if whole else request.previous_response_id,
            conversation_id=request.conversation_id,
            events=events,
            gained=gained,
        )
        await store.put_response(record)
    elif gained and request.conversation_id is not None:
        await store.add_items(request.conversation_id, gained)
