"""From a request to a response in the making."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from ossia.server.api_error import prompt_in
from ossia.server.responses.continuation import history_of
from ossia.server.responses.event_log import JsonObject
from ossia.server.responses.fold import ResponseFold
from ossia.server.responses.intake import Intake, take_in
from ossia.server.responses.keeping import keeper
from ossia.server.responses.live import Live
from ossia.server.responses.logprobs import LogprobCollector
from ossia.server.responses.sampling import wants_logprobs
from ossia.server.responses.schemas import ResponseRequest
from ossia.server.responses.searching import Searching
from ossia.server.responses.surroundings import Surroundings
from ossia.server.responses.text_format import answer_grammar
from ossia.server.responses.visibility import visibility
from ossia.server.responses.web_search import SOURCES


class Making(Protocol):
    """A response in the making: `Live`, or a `Broadcast` of one."""

    @property
    def fold(self) -> ResponseFold:
        """The response as it stands."""
        ...

    def batches(self) -> AsyncGenerator[list[JsonObject], None]:
        """The stream's events, those together that are ready together."""
        ...

    async def finished(self) -> None:
        """Wait for the end."""
        ...

    async def close(self) -> None:
        """End it now, if it has not ended."""
        ...


async def start(
    request: ResponseRequest,
    around: Surroundings,
    remembered: Sequence[JsonObject] | None = None,
) -> tuple[Making, Intake]:
    """Understand a request, have it admitted, and begin with the answer.

    A response that is stored can be followed by others, too, if it is streamed or made in the
    background; it is in the store before anybody knows its id.

    Args:
        request: Its body.
        around: What it is read with.
        remembered: The items before its input, where the response that it goes on from is known
            to its connection only.

    Raises:
        ApiError: it cannot be met as asked, or not now.
    """
    release = _hold(request, around)
    try:
        if remembered is None:
            history = await history_of(request, around.store)
        else:
            history = remembered
        intake = await take_in(request, around, history)
        fold = fold_of(intake, around)
        with prompt_in("input"):
            events = await around.service.answer(intake.question)
    except BaseException:
        release()
        raise
    fold.begin(queued=bool(request.background))
    keep = keeper(intake, around.store, whole=remembered is not None)
    can_be_followed = intake.response["store"] and (request.stream or request.background)
    if keep is None or not can_be_followed:
        return Live(events, fold, keep, around.pacing, release), intake
    live = Live(events, fold, pacing=around.pacing)
    try:
        await keep(fold)
    except BaseException:
        await live.close()
        try:
            await keep(fold)  # or the store would have it unfinished for good
        finally:
            release()
        raise
    return around.active.add(live, keep, release), intake


def _hold(request: ResponseRequest, around: Surroundings) -> Callable[[], None]:
    """Keep others out of the request's conversation, if it has one."""
    if request.conversation_id is None:
        return lambda: None
    return around.state.conversation_locks.hold(request.conversation_id)


def fold_of(intake: Intake, around: Surroundings) -> ResponseFold:
    """What folds the answer to a request; it has not begun."""
    request = intake.request
    return ResponseFold(
        intake.response,
        tools=intake.prompt.table.by_event_name,
        visible=visibility(
            around.settings.reasoning, request, around.sealer, stored=intake.response["store"]
        ),
        logprobs=LogprobCollector(around.service.tokenizer) if wants_logprobs(request) else None,
        searching=_searching(intake, around),
        only_prefills=request.only_prefills,
    )


def _searching(intake: Intake, around: Surroundings) -> Searching | None:
    if intake.browser is None:
        return None
    request = intake.request
    return Searching(
        browser=intake.browser,
        memory=around.state.search_memory,
        shows_sources=request.includes(SOURCES),
        links_citations=answer_grammar(request.text) is None,
    )
