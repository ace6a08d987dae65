"""Frames and what they hold: everything comes out as it went in, however the pipe cuts it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia import errors
from ossia.api.turn_masks import BoundMasks, TurnMasks
from ossia.engine.stats import EngineStats
from ossia.errors import RequestError
from ossia.harmony import HeaderRules
from ossia.server.engine import reports, wire
from ossia.server.engine.request_frames import (
    abort_frame,
    read_abort,
    read_key,
    read_submit,
    submit_frame,
)
from ossia.server.engine.step_frames import check_fits, read_outputs, read_stats, step_frames
from ossia.server.engine.wire import FrameSplitter, Kind, WireError
from ossia.structured import Grammar, GrammarKind
from ossia.types import FinishReason, Request, SamplingParams, TokenLogprob, TokenOutput
from support.scripted_engine import TOKENIZER

U32 = st.integers(0, 2**32 - 1)
KEYS = st.integers(1, 2**64 - 1)
TOKENS = st.integers(0, 2**31 - 1)
LOGPROBS = st.floats(allow_nan=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)

token_logprobs = st.builds(
    TokenLogprob,
    token_id=TOKENS,
    logprob=LOGPROBS,
    top=st.lists(st.tuples(TOKENS, LOGPROBS), max_size=5).map(tuple),
)
outputs = st.builds(
    TokenOutput,
    request_id=KEYS.map(str),
    index=st.integers(0, 127),
    token_id=st.none() | TOKENS,
    logprob=st.none() | token_logprobs,
    prompt_logprobs=st.none() | st.lists(st.none() | token_logprobs, max_size=5).map(tuple),
    finish_reason=st.none() | st.sampled_from(FinishReason),
    error=st.none() | TEXTS,
    cached_tokens=U32,
)
counters = st.builds(
    EngineStats, **dict.fromkeys(EngineStats.__dataclass_fields__, st.integers(0, 2**64 - 1))
)
samplings = st.builds(
    SamplingParams,
    temperature=st.floats(0, 100),
    top_p=st.floats(1e-9, 1),
    top_k=st.integers(0, 2**63 - 1),
    min_p=st.floats(0, 1),
    seed=st.none() | st.integers(0, 2**63 - 1),
    repetition_penalty=st.floats(1e-9, 100),
    presence_penalty=st.floats(-2, 2),
    frequency_penalty=st.floats(-2, 2),
    logit_bias=st.dictionaries(U32, st.floats(-100, 100), max_size=4),
    stop_token_ids=st.lists(U32, max_size=4).map(tuple),
    max_tokens=st.none() | st.integers(10, 2**63 - 1),
    min_tokens=st.integers(0, 10),
    n=st.integers(1, 128),
    logprobs=st.none() | st.integers(0, 100),
    prompt_logprobs=st.none() | st.integers(0, 100),
)
masks = st.builds(
    TurnMasks,
    rules=st.builds(
        HeaderRules,
        functions=st.just(("functions.f", "functions.g")),
        tool_choice=st.sampled_from(["auto", "none", "required", "functions.f"]),
        reasoning=st.booleans(),
    ),
    grammars=st.dictionaries(
        st.sampled_from(["final", "functions.f"]),
        st.builds(Grammar, st.sampled_from(GrammarKind), TEXTS),
    ),
)


def split(data: bytes, sizes: list[int] | None = None) -> list[tuple[Kind, bytes]]:
    splitter = FrameSplitter()
    frames: list[tuple[Kind, bytes]] = []
    for size in sizes or []:
        frames += splitter.feed(data[:size])
        data = data[size:]
    return frames + list(splitter.feed(data))


def only(frame: bytes, kind: Kind) -> bytes:
    ((found, payload),) = split(frame)
    assert found is kind
    return payload


@given(
    st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=50)), max_size=6),
    st.lists(st.integers(0, 30), max_size=20),
)
def test_frames_survive_any_cutting(frames, sizes):
    data = b"".join(wire.frame(kind, payload[:3], payload[3:]) for kind, payload in frames)
    assert split(data, sizes) == frames


@pytest.mark.parametrize(
    "head", [b"\xff\xff\xff\xff\x16", b"\x01\x00\x00\x00\x00", b"Trac", b"\x00\x00\x00\x00\xff"]
)
def test_what_is_no_frame_is_refused_before_it_is_waited_for(head):
    with pytest.raises(WireError, match="no frame is of kind"):
        split(head + b"eback")


def test_no_frame_is_larger_than_what_is_read(monkeypatch):
    monkeypatch.setattr(wire, "MAX_PAYLOAD", 10)
    assert split(wire.frame(Kind.STEP, b"12345", b"67890")) == [(Kind.STEP, b"1234567890")]
    with pytest.raises(WireError, match="11 bytes"):
        wire.frame(Kind.STEP, b"12345", b"678901")


@given(
    KEYS,
    st.lists(U32, max_size=40).map(tuple),
    samplings,
    st.integers(-(2**63), 2**63 - 1),
    st.none() | masks,
)
def test_a_request_comes_out_as_it_went_in(key, prompt, sampling, priority, turn_masks):
    request = Request(
        request_id="anything",
        prompt_ids=prompt,
        sampling=sampling,
        priority=priority,
        cache_salt="a wörd",
        make_mask=None if turn_masks is None else BoundMasks(turn_masks, TOKENIZER),
    )
    payload = only(submit_frame(key, request), Kind.SUBMIT)
    assert read_key(payload) == key
    read, read_masks = read_submit(payload)
    assert read == Request(
        request_id=str(key),
        prompt_ids=prompt,
        sampling=sampling,
        priority=priority,
        cache_salt="a wörd",
    )
    assert read_masks == turn_masks


def test_deadlines_travel_as_seconds_that_are_left(monkeypatch):
    request = Request(request_id="r", prompt_ids=(1,), deadline=107.5)
    payload = only(submit_frame(1, request, now=100.0), Kind.SUBMIT)
    monkeypatch.setattr("time.monotonic", lambda: 5000.0)
    assert read_submit(payload)[0].deadline == 5007.5
    overdue = only(submit_frame(1, request, now=200.0), Kind.SUBMIT)
    assert read_submit(overdue)[0].deadline == 5000.0
    endless = only(submit_frame(1, Request(request_id="r", prompt_ids=(1,))), Kind.SUBMIT)
    assert read_submit(endless)[0].deadline == math.inf


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("prompt_ids", {"prompt_ids": (1, -1)}),
        ("prompt_ids", {"prompt_ids": (1, 2**32)}),
        ("prompt_ids", {"prompt_ids": ("one",)}),
        ("priority", {"priority": 2**80}),
        ("sampling", {"sampling": SamplingParams(stop_token_ids=(object(),))}),  # type: ignore[arg-type]
        ("make_mask", {"make_mask": lambda _: None}),
        (
            "make_mask",
            {
                "make_mask": BoundMasks(
                    TurnMasks(
                        rules=HeaderRules(),
                        grammars={"final": Grammar(GrammarKind.REGEX, "\ud800")},
                    ),
                    TOKENIZER,
                )
            },
        ),
    ],
)
def test_what_cannot_travel_is_refused_by_name(field, changes):
    request = Request(**{"request_id": "r", "prompt_ids": (1,)} | changes)
    with pytest.raises(RequestError) as caught:
        submit_frame(1, request)
    assert caught.value.field == field


@given(st.lists(KEYS, max_size=5))
def test_aborts(keys):
    assert read_abort(only(abort_frame(keys), Kind.ABORT)) == keys


@given(st.lists(outputs, max_size=8), counters)
def test_a_step_comes_out_as_it_went_in(step, stats):
    (frame,) = step_frames(step, stats)
    payload = only(frame, Kind.STEP)
    assert read_stats(payload) == stats
    names = {int(output.request_id): output.request_id for output in step}
    assert list(read_outputs(payload, names)) == [(int(one.request_id), one) for one in step]


@given(st.lists(outputs, min_size=1, max_size=8), st.data())
def test_outputs_that_nobody_waits_for_are_left_out(step, data):
    names = {int(output.request_id): output.request_id for output in step}
    gone = data.draw(st.sampled_from(sorted(names)))
    del names[gone]
    (frame,) = step_frames(step, EngineStats())
    read = list(read_outputs(only(frame, Kind.STEP), names))
    assert read == [(int(one.request_id), one) for one in step if int(one.request_id) != gone]


@given(st.lists(outputs, max_size=8))
def test_a_large_step_takes_several_frames(step):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ossia.server.engine.step_frames._ROOM", 300)
        frames = [only(frame, Kind.STEP) for frame in step_frames(step, EngineStats(steps=3))]
    names = {int(output.request_id): output.request_id for output in step}
    read = [output for frame in frames for _, output in read_outputs(frame, names)]
    assert read == step
    assert all(read_stats(frame).steps == 3 for frame in frames)
    assert len(frames) <= len(step) + 1


def test_more_logprobs_than_a_frame_holds_are_refused():
    sampling = SamplingParams(prompt_logprobs=100)
    check_fits(Request(request_id="r", prompt_ids=(1,) * 50_000, sampling=sampling))
    with pytest.raises(RequestError) as caught:
        check_fits(Request(request_id="r", prompt_ids=(1,) * 60_000, sampling=sampling))
    assert caught.value.field == "prompt_logprobs"


def test_reports():
    ready = reports.Ready(max_context=5, vocab_size=7, max_running=3, device="cpu")
    assert reports.read_ready(only(reports.ready_frame(ready), Kind.READY)) == ready
    for place in (None, Path("/models/ä")):
        payload = only(reports.found_frame("demo", place), Kind.FOUND)
        assert reports.read_found(payload) == ("demo", place)
    payload = only(reports.progress_frame("loading", 3, 9), Kind.PROGRESS)
    assert reports.read_progress(payload) == ("loading", 3, 9)
    assert reports.read_accepted(only(reports.accepted_frame(2**60), Kind.ACCEPTED)) == 2**60


@pytest.mark.parametrize(
    "error",
    [
        errors.RequestError("is odd", field="top_p"),
        errors.ContextLengthError("too long", field="prompt_ids"),
        errors.CapacityError("no room", field="max_tokens"),
        errors.CheckpointError("is damaged", file="model.safetensors", tensor="w"),
        errors.ConfigError("contradicts itself"),
        errors.EngineClosedError("is closed"),
        errors.MissingDependencyError("needs a package"),
    ],
)
def test_errors_keep_their_type_message_and_field(error):
    key, read = reports.read_refused(only(reports.refused_frame(9, error), Kind.REFUSED))
    failed = reports.read_failed(only(reports.failed_frame(error), Kind.FAILED))
    assert key == 9
    for one in (read, failed):
        assert (type(one), str(one)) == (type(error), str(error))
        assert getattr(one, "field", None) == getattr(error, "field", None)
