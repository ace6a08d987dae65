"""Raw text generation over a scripted engine."""

from __future__ import annotations

import pytest

from ossia.api.text_generation import TextPiece, generate_text
from ossia.errors import EngineClosedError, RequestError
from ossia.types import FinishReason, SamplingParams
from support.scripted_engine import TOKENIZER, ScriptedEngine


def _run(script, *, ends=FinishReason.LENGTH, stop=(), **sampling) -> list[TextPiece]:
    engine = ScriptedEngine(script, ends=ends)
    params = SamplingParams(**sampling)
    return list(generate_text(engine, TOKENIZER, [1], sampling=params, stop=stop))


def _text(pieces: list[TextPiece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_text_goes_on_to_the_end_of_text():
    pieces = _run(" a lamb.<|endoftext|>more")
    assert _text(pieces) == " a lamb."
    assert pieces[-1].finish_reason is FinishReason.STOP
    ids = [piece.token_id for piece in pieces if piece.token_id is not None]
    assert ids == TOKENIZER.encode_with_special(" a lamb.<|endoftext|>")


def test_other_special_tokens_are_written():
    assert _text(_run("<|start|>user")) == "<|start|>user"


def test_characters_come_whole():
    pieces = _run(TOKENIZER.encode("🦙 é 語"))
    assert _text(pieces) == "🦙 é 語"
    assert "\ufffd" not in _text(pieces)
    cut = _run(TOKENIZER.encode("🦙")[:1])
    assert _text(cut) == "\ufffd"
    assert cut[-1].finish_reason is FinishReason.LENGTH


def test_limits_logprobs_and_stop_strings():
    pieces = _run("one two three", max_tokens=2, logprobs=0)
    assert _text(pieces) == "one two"
    assert [piece.logprob is not None for piece in pieces] == [True, True, False]
    stopped = _run("one two three", stop=["o t"])
    assert _text(stopped) == "one tw"
    assert stopped[-1].finish_reason is FinishReason.STOP


def test_failures_and_refusals_are_errors():
    with pytest.raises(EngineClosedError, match="boom"):
        _run("one", ends=FinishReason.ERROR)
    with pytest.raises(RequestError, match="stop"):
        _run("one", stop=[""])
