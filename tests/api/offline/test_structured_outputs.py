"""StructuredOutputsParams hold for the whole output of a prompt, and for the answer of a chat."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ossia import LLM, SamplingParams, StructuredOutputsParams
from ossia.errors import RequestError
from ossia.tokenizer import special
from support.folders import write_tiny_folder

OBJECT = {
    "type": "object",
    "properties": {"a": {"enum": [1, 2, 3]}},
    "required": ["a"],
    "additionalProperties": False,
}
ENDS = {special.RETURN: 20.0, special.CALL: 20.0}


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    folder: Path = tmp_path_factory.mktemp("llm") / "tiny"
    # The random weights need the whole vocabulary: grammars are of real tokens.
    write_tiny_folder(folder, max_position_embeddings=256, vocab_size=special.VOCAB_SIZE)
    return LLM(folder, dtype="float32", device="cpu", max_num_seqs=8)


def _params(**settings: Any) -> SamplingParams:
    return SamplingParams(
        temperature=1.5,
        seed=3,
        max_tokens=60,
        logit_bias=ENDS,
        structured_outputs=StructuredOutputsParams(**settings),
    )


@pytest.mark.parametrize(
    ("settings", "is_right"),
    [
        ({"regex": r"\d{3}-[a-f]{2}"}, lambda text: re.fullmatch(r"\d{3}-[a-f]{2}", text)),
        ({"choice": ["yes", "no"]}, lambda text: text in ("yes", "no")),
        ({"json": OBJECT}, lambda text: json.loads(text)["a"] in (1, 2, 3)),
        ({"json": json.dumps(OBJECT)}, lambda text: json.loads(text)["a"] in (1, 2, 3)),
        ({"grammar": 'start: "a" "b"* "c"'}, lambda text: re.fullmatch("ab*c", text)),
        ({"json_object": True}, lambda text: text.startswith("{")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_way_governs_the_whole_output(llm: LLM, settings: dict[str, Any], is_right: Any):
    (output,) = llm.generate("Now:", _params(**settings), use_tqdm=False)
    (one,) = output.outputs
    assert is_right(one.text), one.text
    if "json_object" not in settings:
        assert one.finish_reason == "stop"


def test_in_a_chat_it_governs_the_answer(llm: LLM):
    params = _params(json=OBJECT)
    params.logit_bias = {**ENDS, special.END: 20.0}
    (output,) = llm.chat([{"role": "user", "content": "Now."}], params, use_tqdm=False)
    reply = output.outputs[0].reply
    assert reply is not None
    assert json.loads(reply.content or "")["a"] in (1, 2, 3)


def test_where_functions_are_run_it_governs_the_answer(llm: LLM):
    def add(a: int) -> str:
        """Adds.

        Args:
            a: What.
        """
        return str(a)

    params = _params(json=OBJECT)
    params.logit_bias = {**ENDS, special.END: 20.0}
    chat = [{"role": "user", "content": "Now."}]
    (output,) = llm.chat(chat, params, tools=[add], tool_choice="none", use_tqdm=False)
    reply = output.outputs[0].reply
    assert reply is not None
    assert json.loads(reply.content or "")["a"] in (1, 2, 3)


def test_what_cannot_be_enforced_is_refused(llm: LLM):
    with pytest.raises(RequestError, match=r"^structured_outputs: a schema that uses 'not'"):
        llm.generate("a", _params(json={"not": {}}))
    endless = _params(regex="a")
    endless.ignore_eos = True
    with pytest.raises(RequestError, match=r"^ignore_eos: the output needs an end"):
        llm.generate("a", endless)
    chat = [{"role": "user", "content": "Now."}]
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(RequestError, match="not supported with tools"):
        llm.chat(chat, _params(regex="a"), tools=[tool])
    with pytest.raises(RequestError, match="needs add_generation_prompt"):
        llm.chat(chat, _params(regex="a"), add_generation_prompt=False)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "give one of json, regex, choice, grammar, json_object, not 0"),
        ({"regex": "a", "json_object": True}, "not 2"),
        ({"regex": "a", "whitespace_pattern": " "}, "whitespace_pattern is not supported"),
        ({"regex": "a", "disable_any_whitespace": True}, "disable_any_whitespace is not"),
        ({"structural_tag": "{}"}, "structural_tag is not supported"),
        ({"json": {"const": object()}}, "no JSON"),
    ],
)
def test_bad_values(settings: dict[str, Any], complaint: str):
    with pytest.raises(RequestError, match=f"^structured_outputs: .*{complaint}"):
        StructuredOutputsParams(**settings)


@pytest.mark.parametrize(
    "other", [{"bad_words": ["x"]}, {"allowed_token_ids": [1]}, {"min_tokens": 2}]
)
def test_other_restrictions_of_tokens_do_not_go_with_it(other: dict[str, Any]):
    structured = StructuredOutputsParams(regex="a")
    with pytest.raises(RequestError, match="not supported with structured_outputs"):
        SamplingParams(structured_outputs=structured, **other)
