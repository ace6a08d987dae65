"""Answers as messages of Anthropic's API: streamed or whole, the same."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.api.conversation import respond
from ossia.api.opening import opening_messages, user_message
from ossia.api.question import Question
from ossia.api.tools import Tool
from ossia.harmony import ToolDescription
from ossia.server.anthropic.fold import MessageFold
from ossia.server.reasoning_memory import ReasoningMemory
from ossia.types import SamplingParams
from support.scripted_engine import TOKENIZER, ScriptedEngine

TOOLS = [Tool(ToolDescription.new("lookup", "Looks up.", {"type": "object"}))]
THOUGHT = "<|channel|>analysis<|message|>Think."
CALL = '<|channel|>commentary to=functions.lookup <|constrain|>json<|message|>{"q": 1}<|call|>'
AGAIN = "<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>It is 7.<|return|>"
PREAMBLE = "<|channel|>commentary<|message|>I will look."


def _fold(script, *, thoughts="shown", memory=None, stop=(), max_tokens=None):
    question = Question(
        [*opening_messages(tools=TOOLS), user_message("Hi")],
        tools=TOOLS,
        stop=stop,
        sampling=SamplingParams(max_tokens=max_tokens),
    )
    fold = MessageFold("m", 7, thoughts, memory or ReasoningMemory())
    events = copy.deepcopy(fold.start())
    for event in respond(ScriptedEngine(script), TOKENIZER, question):
        events += copy.deepcopy(fold.push(event))
    return fold.message, events


def _folded_by_client(events):
    """What a client makes of a stream, after Anthropic's documentation."""
    assert events[-1]["type"] == "message_stop"
    message = events[0]["message"]
    blocks = message["content"]
    for event in events[1:]:
        match event["type"]:
            case "content_block_start":
                assert event["index"] == len(blocks)
                blocks.append(event["content_block"] | {"input_json": ""})
            case "content_block_delta":
                for name, piece in event["delta"].items():
                    if name != "type":
                        name = {"partial_json": "input_json"}.get(name, name)
                        blocks[event["index"]][name] += piece
            case "content_block_stop":
                partial = blocks[event["index"]].pop("input_json")
                if blocks[event["index"]]["type"] == "tool_use":
                    blocks[event["index"]]["input"] = _object(partial)
            case "message_delta":
                message |= event["delta"] | {"usage": event["usage"]}
    return message


def _object(text):
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"input": value}


def test_thinking_then_text():
    message, events = _fold(THOUGHT + AGAIN + FINAL)
    thinking, text = message["content"]
    assert thinking["thinking"] == "Think."
    assert thinking["signature"]
    assert text == {"type": "text", "text": "It is 7."}
    assert message["stop_reason"] == "end_turn"
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["message_start", "ping", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    usage = message["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] > 3
    assert usage["cache_read_input_tokens"] == 3


@pytest.mark.parametrize(
    ("thoughts", "shown"),
    [("omitted", [("thinking", ""), ("text", None)]), ("hidden", [("text", None)])],
)
def test_thoughts_can_be_kept_back(thoughts, shown):
    message, events = _fold(THOUGHT + AGAIN + FINAL, thoughts=thoughts)
    assert [(one["type"], one.get("thinking")) for one in message["content"]] == shown
    assert "Think" not in str(events)


def test_a_call_remembers_the_thought_before_it():
    memory = ReasoningMemory()
    message, _ = _fold(THOUGHT + AGAIN + PREAMBLE + AGAIN + CALL, thoughts="hidden", memory=memory)
    text, call = message["content"]
    assert text["text"] == "I will look."
    assert call["name"] == "lookup"
    assert call["input"] == {"q": 1}
    assert message["stop_reason"] == "tool_use"
    assert memory.get(call["id"]) == "Think."


def test_a_call_without_arguments_has_a_block():
    message, _ = _fold("<|channel|>commentary to=functions.lookup<|message|><|call|>")
    assert message["content"][0]["input"] == {}
    assert message["content"][0]["name"] == "lookup"


@pytest.mark.parametrize("written", ["[1]", "no json", '{"q": '])
def test_arguments_that_are_no_object_are_not_lost(written):
    message, _ = _fold(f"<|channel|>commentary to=functions.lookup<|message|>{written}<|call|>")
    assert written.strip("[]") in str(message["content"][0]["input"])


def test_ends_are_told_apart():
    assert _fold(FINAL, stop=["is"])[0]["stop_reason"] == "stop_sequence"
    assert _fold(FINAL, stop=["is"])[0]["stop_sequence"] == "is"
    assert _fold(FINAL, max_tokens=4)[0]["stop_reason"] == "max_tokens"


_PIECES = st.sampled_from(
    [THOUGHT, AGAIN, CALL, FINAL, PREAMBLE, "<|end|>", "<|channel|>", "é", "<|start|>"]
)


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(_PIECES, max_size=8),
    thoughts=st.sampled_from(["shown", "omitted", "hidden"]),
    noise=st.lists(st.integers(0, 201_087), max_size=12),
)
def test_a_stream_folds_to_the_whole(pieces, thoughts, noise):
    script = TOKENIZER.encode_with_special("".join(pieces)) + noise
    message, events = _fold(script, thoughts=thoughts)
    assert _folded_by_client(events) == message
