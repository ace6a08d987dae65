"""Streams of the hosted API that were captured, held against ours event by event.

`captured_fields.json` is what `support/captured_fields.py` keeps of them: the events in order, and
their fields.
"""

from __future__ import annotations

import json
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pytest

from support.captured_fields import paths_of, shape_of
from support.responses import answer, around
from support.scripted_web import ScriptedWeb

CAPTURED = json.loads(Path(__file__).with_name("captured_fields.json").read_text())

TEXT = (
    "<|channel|>analysis<|message|>Greet them.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Hello there!<|return|>"
)
SEARCH = '<|channel|>analysis to=browser.search code<|message|>{"query":"news"}<|call|>'
CITED = "<|channel|>final<|message|>Otters【0†L2】\n\nThe Seine【0†L3】\n\nThese stories.<|return|>"
TOOL = {
    "type": "web_search_preview",
    "user_location": {"type": "approximate", "country": "US"},
}

OF_RESPONSES = {
    # newer than the captures: Open Responses asks for them, and the hosted API sends them now
    "completed_at",
    "frequency_penalty",
    "presence_penalty",
    "prompt_cache_key",
    "safety_identifier",
    "usage.input_tokens_details.cache_write_tokens",
}
OF_ITEMS = {
    "message": {"phase"},  # newer than the captures
    # older reasoning items had none of these
    "reasoning": {"content", "status"},
    "web_search_call": {"action.queries"},  # newer than the captures
}
"""What ours hold that the captured ones do not, and why."""


def _ours(name):
    """The events of a stream of ours in which the same happens."""
    if name == "text":  # the model's reasoning was not shown
        surroundings = around(TEXT, reasoning="hidden", pause=0.0)
        body = {}
    else:
        surroundings = around(SEARCH, CITED, web=ScriptedWeb(), pause=0.0)
        body = {"tools": [TOOL]}
    return answer({"instructions": "You are a helpful assistant.", **body}, surroundings)[0]


def _additions(event):
    """The paths of what an event of ours holds beyond the captured ones."""
    if "item" in event:
        kind = event["item"]["type"]
        return {f"item.{name}" for name in OF_ITEMS[kind]}
    added = {f"response.{name}" for name in OF_RESPONSES}
    for kind, names in OF_ITEMS.items():
        added |= {f"response.output[{kind}].{name}" for name in names}
    return added


@pytest.mark.parametrize("name", sorted(CAPTURED))
def test_the_same_events_come_in_the_same_order(name):
    ours = [event["type"] for event in shape_of(_ours(name))]
    assert ours == [event["type"] for event in CAPTURED[name]]


@pytest.mark.parametrize("name", sorted(CAPTURED))
def test_every_event_has_the_fields_of_the_captured_one_and_only_known_ones_beyond(name):
    runs = [list(run) for _, run in groupby(_ours(name), key=itemgetter("type"))]
    for captured, run in zip(CAPTURED[name], runs, strict=True):
        theirs = set(captured["fields"])
        for event in run:
            own = set(paths_of(event))
            assert theirs - own == set(), captured["type"]
            assert own - theirs <= _additions(event), captured["type"]


def test_every_addition_is_needed():
    """The list of what is beyond the captured streams holds nothing that is not."""
    beyond = set()
    for name, captured in CAPTURED.items():
        for theirs, own in zip(captured, shape_of(_ours(name)), strict=True):
            beyond |= set(own["fields"]) - set(theirs["fields"])
    of_items = {f"item.{name}" for names in OF_ITEMS.values() for name in names}
    assert {f"response.{name}" for name in OF_RESPONSES} | of_items <= beyond
