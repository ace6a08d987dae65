"""Intake: orders from the server, checked and made ready before the engine's loop sees them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from ossia.api.turn_masks import BoundMasks, TurnMasks
from ossia.errors import EngineClosedError, OssiaError
from ossia.server.engine.outbox import Outbox
from ossia.server.engine.reports import accepted_frame, refused_frame
from ossia.server.engine.request_frames import read_abort, read_key, read_submit
from ossia.server.engine.step_frames import check_fits
from ossia.server.engine.wire import Kind, WireError
from ossia.tokenizer import Tokenizer
from ossia.types import Request

_log = logging.getLogger(__name__)
_NUM_BINDERS = 2  # more would only take the processor from the engine's loop


@dataclass(slots=True)
class Orders:
    """What the loop is to do before its next step."""

    submitted: list[Request] = field(default_factory=list[Request])
    aborted: list[int] = field(default_factory=list[int])


class Intake:
    """Takes orders on the thread that reads the pipe, and has masks made on threads of their own.

    A request is accepted once it is queued; from then on the loop does nothing for it that takes
    long.

    Args:
        check: Raises what the engine has against a request; called on any thread.
        outbox: Where refusals and acceptances go.
        tokenizer: Gives the tokenizer that masks are made with; asked when the first mask is.
    """

    def __init__(
        self, check: Callable[[Request], object], outbox: Outbox, tokenizer: Callable[[], Tokenizer]
    ) -> None:
        self._check = check
        self._outbox = outbox
        self._tokenizer = tokenizer
        self._binders = ThreadPoolExecutor(_NUM_BINDERS, thread_name_prefix="ossia-masks")
        self._changed = threading.Condition()
        # Guarded by the condition.
        self._orders = Orders()
        self._binding: set[int] = set()

    def handle(self, kind: Kind, payload: bytes) -> None:
        """Take in one frame."""
        if kind is Kind.SUBMIT:
            self._submit(payload)
        elif kind is Kind.ABORT:
            self._abort(read_abort(payload))
        else:
            raise WireError(f"{kind.name} is not for an engine")

    def take(self, *, wait: bool) -> Orders:
        """What has been ordered since the last call.

        Args:
            wait: Until there is something.
        """
        with self._changed:
            while wait and not (self._orders.submitted or self._orders.aborted):
                self._changed.wait()
            orders, self._orders = self._orders, Orders()
        return orders

    def _submit(self, payload: bytes) -> None:
        key = read_key(payload)
        try:
            request, masks = read_submit(payload)
            self._check(request)
            check_fits(request)
        except Exception as error:
            self._refuse(key, error)
            return
        if masks is None:
            self._queue(key, request)
            return
        with self._changed:
            self._binding.add(key)
        self._binders.submit(self._bind, key, request, masks)

    def _bind(self, key: int, request: Request, masks: TurnMasks) -> None:
        """Make the masks and queue the request, unless it was aborted meanwhile."""
        failure: Exception | None = None
        bound = BoundMasks(masks, self._tokenizer())
        try:
            bound.prepare()  # now, and not by the loop
        except Exception as error:
            failure = error
        with self._changed:  # in one go, lest an abort slips in between
            if key not in self._binding:
                return
            self._binding.remove(key)
            if failure is None:
                self._queue(key, replace(request, make_mask=bound))
            else:
                self._refuse(key, failure)

    def _queue(self, key: int, request: Request) -> None:
        self._outbox.send(accepted_frame(key))  # first, as its tokens may follow at once
        with self._changed:
            self._orders.submitted.append(request)
            self._changed.notify()

    def _abort(self, keys: list[int]) -> None:
        with self._changed:
            self._binding.difference_update(keys)
            self._orders.aborted += keys
            self._changed.notify()

    def _refuse(self, key: int, error: Exception) -> None:
        if not isinstance(error, OssiaError):
            _log.error("a request cannot be read", exc_info=error)
            error = EngineClosedError(f"the engine failed: {type(error).__name__}: {error}")
        self._outbox.send(refused_frame(key, error))
