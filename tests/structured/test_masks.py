"""Exactly the texts that a grammar allows can be written, and only they can end."""

from __future__ import annotations

import json
import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.errors import GrammarCostError
from ossia.structured import Grammar
from ossia.structured.cache import GrammarCache
from ossia.structured.compiling import CompiledGrammar
from ossia.structured.limits import MAX_WHITESPACE
from ossia.structured.mask import GrammarMask
from ossia.tokenizer import Tokenizer, special
from support.schemas import complaint, random_schema

_NOT_ZERO = re.compile(rb"[^\0]")
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


def _has(bits: bytes, token: int) -> bool:
    return bool(bits[token // 8] >> token % 8 & 1)


def _takes(tokenizer: Tokenizer, grammar: CompiledGrammar, text: str) -> bool | None:
    """Whether a text can be written; None if so, but it cannot end there."""
    mask = GrammarMask(grammar)
    for token in tokenizer.encode(text):
        if not _has(mask.allowed(), token):
            return False
        mask.accept(token)
    return True if mask.may_end else None


@pytest.mark.parametrize(
    ("grammar", "whole", "begun", "wrong"),
    [
        (
            Grammar.json_schema(PERSON),
            ['{"name": "Ann"}', '{\n  "name": "é\\n",\n  "age": 7\n}'],
            ["", "{", '{"name": "Ann', '{"name": "<|return|>'],
            ["[", '{"age": 1}', '{"name": "a", "age": -1}', '{"name": "a"} ', '{"name": 1', "x"],
        ),
        (
            Grammar.json_object(),
            ["{}", '{"a": [1, {"b": null}]}'],
            ['{"a":'],
            ["[]", '"a"', "1", " {}"],
        ),
        (Grammar.json_schema(True), ["1", '"a"', "[]"], ["[", "-"], ["a", "'"]),
        (Grammar.regex(r"\d{3}-[a-z]+"), ["123-a", "123-abc"], ["12", "123-"], ["a", "1234"]),
        (Grammar.regex("^(yes|no)$"), ["yes", "no"], ["y"], ["yesno", "maybe"]),
        (Grammar.regex("a*"), ["", "a", "aaaa"], [], ["b"]),
        (
            Grammar.lark('start: expr\nexpr: NUM | expr "+" expr\nNUM: /[0-9]+/ // <[5]>'),
            ["1", "12+3", "1+2+3"],
            ["1+"],
            ["+", "1++"],
        ),
        (
            Grammar.choice(["red", 'a "b"', "<|end|>", "x\ny"]),
            ["red", 'a "b"', "<|end|>", "x\ny"],
            ["re", "<|", ""],
            ["blue", "redd"],
        ),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Grammar) else "",
)
def test_each_kind_of_grammar(
    tokenizer: Tokenizer,
    cache: GrammarCache,
    grammar: Grammar,
    whole: list[str],
    begun: list[str],
    wrong: list[str],
) -> None:
    compiled = cache.compiled(grammar)
    assert {text: _takes(tokenizer, compiled, text) for text in whole} == dict.fromkeys(whole, True)
    assert {text: _takes(tokenizer, compiled, text) for text in begun} == dict.fromkeys(begun, None)
    assert {text: _takes(tokenizer, compiled, text) for text in wrong} == dict.fromkeys(
        wrong, False
    )


def test_what_is_complete_can_only_end(tokenizer: Tokenizer, cache: GrammarCache) -> None:
    mask = GrammarMask(cache.compiled(Grammar.regex("ab")))
    assert not mask.may_end
    for token in tokenizer.encode("ab"):
        mask.accept(token)
    assert mask.may_end
    assert not any(mask.allowed())


def test_no_special_token_is_ever_in_a_set(cache: GrammarCache) -> None:
    bits = GrammarMask(cache.compiled(Grammar.regex(r"(.|\s)*"))).allowed()
    assert len(bits) == 25_000
    assert bits[-1] >> special.FIRST_SPECIAL % 8 == 0
    allowed = sum(byte.bit_count() for byte in bits)
    assert special.FIRST_SPECIAL - 2000 < allowed <= special.FIRST_SPECIAL


def test_whitespace_does_not_go_on_for_ever(tokenizer: Tokenizer, cache: GrammarCache) -> None:
    grammar = cache.compiled(Grammar.json_object())
    assert _takes(tokenizer, grammar, "{" + " " * MAX_WHITESPACE + "}")
    assert _takes(tokenizer, grammar, "{" + " " * MAX_WHITESPACE + " }") is False


def test_settings_of_the_compiler_are_not_the_callers(
    tokenizer: Tokenizer, cache: GrammarCache
) -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    named = {**schema, "x-guidance": {"item_separator": ";", "lenient": True}}
    for grammar in (schema, named):
        compiled = cache.compiled(Grammar.json_schema(grammar))
        assert _takes(tokenizer, compiled, "[1, 2]")
        assert _takes(tokenizer, compiled, "[1;2]") is False


def test_a_token_that_does_not_fit_is_an_error(tokenizer: Tokenizer, cache: GrammarCache) -> None:
    mask = GrammarMask(cache.compiled(Grammar.regex("a+")))
    with pytest.raises(ValueError, match="does not fit the grammar"):
        mask.accept(tokenizer.encode("b")[0])


def test_masks_of_one_grammar_go_their_own_ways(tokenizer: Tokenizer, cache: GrammarCache) -> None:
    grammar = cache.compiled(Grammar.choice(["ab", "cd"]))
    first, second = GrammarMask(grammar), GrammarMask(grammar)
    a, b, c, d = (tokenizer.encode(letter)[0] for letter in "abcd")
    first.accept(a)
    second.accept(c)
    assert _has(first.allowed(), b)
    assert not _has(first.allowed(), d)
    assert _has(second.allowed(), d)
    assert not _has(second.allowed(), b)
    assert not GrammarMask(grammar).may_end


def test_a_grammar_that_takes_too_long_runs_out_of_credit(
    tokenizer: Tokenizer, cache: GrammarCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ossia.structured.mask.MASK_CREDIT_SECONDS", 0.0)
    monkeypatch.setattr("ossia.structured.mask.MASK_SECONDS_A_TOKEN", 0.0)
    mask = GrammarMask(cache.compiled(Grammar.regex("[ab]*")))
    mask.accept(tokenizer.encode("a")[0])
    with pytest.raises(ValueError, match="too long for each token"):
        mask.allowed()


def test_an_automaton_that_outgrows_its_limits_is_no_token_that_does_not_fit(
    tokenizer: Tokenizer, cache: GrammarCache
) -> None:
    mask = GrammarMask(cache.compiled(Grammar.regex("((a{1,200}){1,200}){1,200}")))
    (token,) = tokenizer.encode("a" * 8)

    def write() -> None:
        for _ in range(20):
            assert _has(mask.allowed(), token)
            mask.accept(token)

    with pytest.raises(GrammarCostError, match=r"the grammar .*; make it smaller"):
        write()


def test_a_bomb_that_grows_on_the_way_ends_with_an_error(
    tokenizer: Tokenizer, cache: GrammarCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ossia.structured.mask.MASK_CREDIT_SECONDS", 0.1)
    mask = GrammarMask(cache.compiled(Grammar.lark('start: "y" a\na: a a a | "x" | a a')))
    mask.accept(tokenizer.encode("y")[0])
    x = tokenizer.encode("x")[0]

    def write() -> None:
        for _ in range(3_000):
            mask.allowed()
            mask.accept(x)

    with pytest.raises(ValueError, match=r"too long|too complex|too many|limit|items"):
        write()


def _walk(tokenizer: Tokenizer, grammar: CompiledGrammar, random: Random) -> str | None:
    """Text drawn under a mask, with a liking for what ends things; None if it does not end."""
    mask, ids = GrammarMask(grammar), list[int]()
    closing = [tokenizer.encode(text)[0] for text in ('"', "}", "]", '",', '"}', "null", "0")]
    for _ in range(300):
        bits = mask.allowed()
        likely = [token for token in closing if _has(bits, token)]
        if mask.may_end and (random.random() < 0.5 or not any(bits)):
            return tokenizer.decode(ids, errors="strict")
        if likely and random.random() < 0.4:
            token = random.choice(likely)
        else:
            start = random.randrange(len(bits))
            some = _NOT_ZERO.search(bits, start) or _NOT_ZERO.search(bits)
            assert some is not None, "a text can go on or end"
            byte = some.start()
            token = random.choice([byte * 8 + bit for bit in range(8) if bits[byte] >> bit & 1])
        mask.accept(token)
        ids.append(token)
    return None


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_is_drawn_under_a_schema_fulfils_it(
    tokenizer: Tokenizer, cache: GrammarCache, seed: int
) -> None:
    random = Random(seed)
    schema = random_schema(random)
    text = _walk(tokenizer, cache.compiled(Grammar.json_schema(schema)), random)
    assert text is None or complaint(schema, text) is None, (text, schema)


def test_the_judge_of_these_tests_has_complaints() -> None:
    assert complaint({"type": "integer"}, '"a"')
    assert complaint({"type": "integer"}, "{")
    assert complaint({"type": "number", "multipleOf": 0.1}, "0.35")
    assert complaint({"type": "number", "multipleOf": 0.1}, "0.3") is None
    assert complaint({"format": "date-time"}, '"2020-13-01T00:00:00Z"')
    assert json.loads('{"a": 1, "a": 2}') == {"a": 2}, "a reader keeps the last of two"
