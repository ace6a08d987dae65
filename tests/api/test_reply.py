"""Reply: model output in its parts, whatever it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ossia.api.reply import Reply
from support.scripted_engine import TOKENIZER

PROMPT = TOKENIZER.encode_with_special("<|start|>user<|message|>Hi<|end|><|start|>assistant")


def _reply(text: str, prompt: list[int] = PROMPT) -> Reply:
    return Reply.of(TOKENIZER, prompt, TOKENIZER.encode_with_special(text))


def test_parts_are_told_apart():
    reply = _reply(
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>analysis<|message|>"
        "So.<|end|><|start|>assistant<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant"
        '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>'
    )
    assert (reply.reasoning, reply.content) == ("Hm.\n\nSo.", "Wait.")
    (call,) = reply.tool_calls
    assert (call.name, call.arguments, call.recipient) == ("f", '{"a": 1}', "functions.f")
    message = reply.to_message("reasoning_content")
    assert message == {
        "role": "assistant",
        "content": "Wait.",
        "reasoning_content": "Hm.\n\nSo.",
        "tool_calls": [
            {
                "type": "function",
                "id": call.call_id,
                "function": {"name": "f", "arguments": {"a": 1}},
            }
        ],
    }
    assert len(reply.messages) == 4


def test_arguments_that_are_no_object_stay_text():
    for text in ("not json", "[1]", "3"):
        reply = _reply(f"<|channel|>commentary to=functions.f<|message|>{text}<|call|>")
        (call,) = reply.to_message()["tool_calls"]
        assert call["function"]["arguments"] == text


def test_an_open_message_is_part_of_the_reply():
    prompt = TOKENIZER.encode_with_special(
        "<|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>final<|message|>The ans"
    )
    assert _reply("wer.<|return|>", prompt).to_message() == {
        "role": "assistant",
        "content": "The answer.",
    }


def test_a_prompt_that_is_no_chat_is_left_out():
    assert _reply("<|channel|>final<|message|>Yes", TOKENIZER.encode("Hello")).content == "Yes"
    assert _reply("<|channel|>final<|message|>Yes", []).content == "Yes"


def test_others_words_are_none_of_it():
    reply = _reply(
        "<|channel|>final<|message|>Yes.<|end|><|start|>user<|message|>And no?<|end|>"
        "<|start|>assistant<|channel|>final<|message|>No.<|return|>"
    )
    assert reply.content == "Yes.\n\nNo."


@given(st.lists(st.one_of(st.integers(200_000, 200_018), st.integers(0, 201_087)), max_size=30))
def test_nothing_fails(ids: list[int]):
    reply = Reply.of(TOKENIZER, PROMPT, ids)
    assert reply.to_message()["role"] == "assistant"
