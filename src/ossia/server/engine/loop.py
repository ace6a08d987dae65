"""run_loop: take orders, step, send what came out; the engine process's main thread."""

from __future__ import annotations

import logging
from typing import Protocol

from ossia.engine.stats import EngineStats
from ossia.errors import OssiaError
from ossia.server.engine.intake import Intake
from ossia.server.engine.outbox import Outbox
from ossia.server.engine.reports import refused_frame
from ossia.server.engine.step_frames import step_frames
from ossia.types import Request, TokenOutput

_log = logging.getLogger(__name__)
MAX_FAILED_STEPS = 3
"""Forward passes that may fail in a row; a GPU that has seen an illegal access never recovers."""


class Core(Protocol):
    """What the loop needs of an engine; `EngineCore` is one."""

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        ...

    def submit(self, request: Request) -> None:
        """Queue a request."""
        ...

    def abort(self, request_id: str) -> object:
        """End a request."""
        ...

    def step(self) -> list[TokenOutput]:
        """Produce some tokens."""
        ...

    def stats(self) -> EngineStats:
        """The counters as they are now."""
        ...


def run_loop(core: Core, intake: Intake, outbox: Outbox) -> None:
    """Serve until forward passes keep failing.

    Args:
        core: Used by nobody else.
        intake: Where orders come from.
        outbox: Where outputs go.
    """
    failures_in_row, failed_before = 0, 0
    while failures_in_row < MAX_FAILED_STEPS:
        _obey(core, intake, outbox)
        outputs = core.step() if core.has_work else []
        stats = core.stats()
        for frame in step_frames(outputs, stats):
            outbox.send(frame)
        failures_in_row = failures_in_row + 1 if stats.failed_steps > failed_before else 0
        failed_before = stats.failed_steps
    _log.error("%d forward passes failed in a row; the engine ends", failures_in_row)


def _obey(core: Core, intake: Intake, outbox: Outbox) -> None:
    orders = intake.take(wait=not core.has_work)
    for request in orders.submitted:
        try:
            core.submit(request)
        except OssiaError as error:
            outbox.send(refused_frame(int(request.request_id), error))
    for key in orders.aborted:
        core.abort(str(key))  # its last outputs are for nobody
