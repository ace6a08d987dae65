"""How much may wait, and when to come again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia.server.api_error import ApiError
from ossia.server.engine.admission import AdmissionControl
from support.engines import FakeClock


def control(clock: FakeClock | None = None, **limits: int) -> AdmissionControl:
    limits = {"max_queue": 2, "max_queued_tokens": 100} | limits
    made = AdmissionControl(**limits, clock=clock or FakeClock())
    made.max_running = 2
    return made


def refusal(admission: AdmissionControl, num_tokens: int = 1) -> ApiError:
    with pytest.raises(ApiError) as caught:
        admission.admit(num_tokens)
    return caught.value


def test_the_queue_is_beside_what_can_run():
    admission = control()
    tickets = [admission.admit(1) for _ in range(4)]
    assert refusal(admission).status == 429
    tickets[0].start()
    assert (admission.waiting, admission.running) == (3, 1)
    assert refusal(admission).status == 429
    tickets[0].end()
    admission.admit(1)


def test_prompt_tokens_that_wait_are_limited_but_one_prompt_always_may():
    admission = control(max_queue=100)
    large = admission.admit(5000)
    assert "5000 tokens" in refusal(admission).message
    large.start()
    admission.admit(60)
    assert refusal(admission, 41).status == 429
    admission.admit(40)


def test_the_time_to_come_again_follows_the_pace():
    clock = FakeClock()
    admission = control(clock, max_queue=1000, max_queued_tokens=10**9)
    waiting = [admission.admit(10) for _ in range(1002)]
    assert refusal(admission).retry_after == 5.0
    for ticket in waiting[:20]:
        clock.now += 0.5
        ticket.start()
    admission.note(10)
    for _ in range(19):
        admission.note(10)
    # 20 in 9.5 s; half of the 1002 that wait.
    assert refusal(admission).retry_after == pytest.approx(60.0)
    clock.now += 0.5
    for ticket in waiting[20:900]:
        ticket.start()
    for ticket in waiting[:900]:
        ticket.end()
    for _ in range(900):
        admission.note(10)
    assert 1.0 <= (refusal(admission).retry_after or 0) < 10.0
    clock.now += 100
    assert refusal(admission).retry_after == 5.0


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["start", "end"])), max_size=40))
def test_the_counts_are_those_of_the_tickets(deeds):
    admission = control(max_queue=100)
    tickets = [admission.admit(7) for _ in range(6)]
    started, ended = set(), set()
    for number, deed in deeds:
        getattr(tickets[number], deed)()
        if deed == "end":
            ended.add(number)
        elif number not in ended:
            started.add(number)
    assert admission.waiting == len(set(range(6)) - started - ended)
    assert admission.running == len(started - ended)
    for ticket in tickets:
        ticket.end()
    assert (admission.waiting, admission.running, admission._waiting_tokens) == (0, 0, 0)
