"""From a request to a response in the making."""

from __future__ import annotations

from ossia.server.responses.continuation import history_of
from ossia.server.responses.fold import ResponseFold
from ossia.server.responses.intake import Intake, Surroundings, take_in
from ossia.server.responses.keeping import keeper
from ossia.server.responses.live import Live
from ossia.server.responses.logprobs import LogprobCollector
from ossia.server.responses.sampling import wants_logprobs
from ossia.server.responses.schemas import ResponseRequest
from ossia.server.responses.visibility import visibility


async def start(request: ResponseRequest, around: Surroundings) -> tuple[Live, Intake]:
    """Understand a request, have it admitted, and begin with the answer.

    Args:
        request: Its body.
        around: What it is read with.

    Raises:
        ApiError: it cannot be met as asked, or not now.
    """
    intake = await take_in(request, around, await history_of(request, around.store))
    fold = fold_of(intake, around)
    events = await around.service.answer(intake.question)
    fold.begin()
    return Live(events, fold, keeper(intake, around.store)), intake


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
        only_prefills=request.only_prefills,
    )
