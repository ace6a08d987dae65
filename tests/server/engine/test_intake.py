"""What happens to orders before the loop sees them, and to frames that nobody reads."""

from __future__ import annotations

import os
import threading

import pytest

from ossia.api.turn_masks import BoundMasks, TurnMasks
from ossia.errors import RequestError
from ossia.harmony import HeaderRules
from ossia.server.engine import reports
from ossia.server.engine.intake import Intake
from ossia.server.engine.outbox import Outbox
from ossia.server.engine.request_frames import abort_frame, submit_frame
from ossia.server.engine.wire import FrameSplitter, Kind, WireError
from ossia.types import Request
from support.scripted_engine import TOKENIZER

MASKS = BoundMasks(TurnMasks(rules=HeaderRules()), TOKENIZER)


class Box:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.frames: list[tuple[Kind, bytes]] = []
        self.changed = threading.Condition()

    def send(self, frame: bytes) -> None:
        with self.changed:
            self.frames += FrameSplitter().feed(frame)
            self.changed.notify_all()

    def wait_for(self, count: int) -> list[Kind]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.frames) >= count, 20)
        return [kind for kind, _ in self.frames]


class SlowEncoder:
    """A tokenizer with which masks are not made before it is let go."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.let_go = threading.Event()
        self.error: Exception | None = None

    def encode(self, text: str) -> list[int]:
        self.asked.set()
        assert self.let_go.wait(20)
        if self.error is not None:
            raise self.error
        return [len(text)]


def make(check=lambda _: None) -> tuple[Intake, Box, SlowEncoder]:
    box, encoder = Box(), SlowEncoder()
    return Intake(check, box, lambda: encoder), box, encoder  # type: ignore[arg-type]


def handle(intake: Intake, frame: bytes) -> None:
    for kind, payload in FrameSplitter().feed(frame):
        intake.handle(kind, payload)


def asked(**more: object) -> Request:
    return Request(**{"request_id": "r", "prompt_ids": (1,)} | more)  # type: ignore[arg-type]


def test_masks_that_take_long_hold_up_nobody_else():
    intake, box, encoder = make()
    handle(intake, submit_frame(1, asked(make_mask=MASKS)))
    assert encoder.asked.wait(20)
    handle(intake, submit_frame(2, asked()))
    assert [one.request_id for one in intake.take(wait=True).submitted] == ["2"]
    assert box.wait_for(1) == [Kind.ACCEPTED]
    encoder.let_go.set()
    (request,) = intake.take(wait=True).submitted
    assert request.request_id == "1"
    assert isinstance(request.make_mask, BoundMasks)
    assert request.make_mask.masks == MASKS.masks
    assert [reports.read_accepted(payload) for _, payload in box.frames] == [2, 1]


def test_a_request_that_is_aborted_while_its_masks_are_made_is_never_queued():
    intake, box, encoder = make()
    handle(intake, submit_frame(1, asked(make_mask=MASKS)))
    assert encoder.asked.wait(20)
    handle(intake, abort_frame([1]))
    assert intake.take(wait=True).aborted == [1]
    encoder.let_go.set()
    intake._binders.shutdown()
    orders = intake.take(wait=False)
    assert (orders.submitted, orders.aborted, box.frames) == ([], [], [])


def test_masks_that_cannot_be_made_refuse_the_request():
    intake, box, encoder = make()
    encoder.error = RequestError("is no schema", field="grammars")
    encoder.let_go.set()
    handle(intake, submit_frame(7, asked(make_mask=MASKS)))
    assert box.wait_for(1) == [Kind.REFUSED]
    key, error = reports.read_refused(box.frames[0][1])
    assert (key, type(error), str(error)) == (7, RequestError, "grammars: is no schema")
    assert intake.take(wait=False).submitted == []


def test_what_no_code_foresaw_is_a_refusal_too(caplog):
    def check(_: Request) -> None:
        raise ZeroDivisionError("oh")

    intake, box, _ = make(check)
    handle(intake, submit_frame(7, asked()))
    key, error = reports.read_refused(box.frames[0][1])
    assert (key, str(error)) == (7, "the engine failed: ZeroDivisionError: oh")
    assert "cannot be read" in caplog.text


def test_frames_that_are_not_for_an_engine_are_not_taken():
    intake, _, _ = make()
    with pytest.raises(WireError, match="ACCEPTED"):
        handle(intake, reports.accepted_frame(1))


def test_a_server_that_reads_slowly_holds_up_nobody_and_misses_nothing():
    source, sink = os.pipe()
    outbox = Outbox(sink, lost=lambda: None)
    frames = [reports.progress_frame("x" * 1000, idx, 3000) for idx in range(3000)]
    for frame in frames:  # 3 MB, far more than a pipe holds
        outbox.send(frame)
    splitter, read = FrameSplitter(), []
    while len(read) < len(frames):
        read += splitter.feed(os.read(source, 10_000))
    assert [reports.read_progress(payload)[1] for _, payload in read] == list(range(3000))
    outbox.wait_empty(5)
    outbox.send(frames[0])
    assert os.read(source, 10_000) == frames[0]
    os.close(source)


def test_a_server_that_is_gone_is_noticed():
    source, sink = os.pipe()
    lost = threading.Event()
    outbox = Outbox(sink, lost=lost.set)
    os.close(source)
    outbox.send(reports.accepted_frame(1))
    assert lost.is_set()
