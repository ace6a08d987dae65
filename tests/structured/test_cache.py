"""Compiled grammars are kept up to a size, and compiled once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

import ossia.structured.cache as module
from ossia.errors import RequestError
from ossia.structured import Grammar
from ossia.structured.cache import GrammarCache, grammar_cache
from ossia.structured.compiling import CompiledGrammar, compile_grammar
from ossia.tokenizer import Tokenizer


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Grammar]:
    """Counts what is compiled."""
    seen: list[Grammar] = []

    def counting(tokenizer: Tokenizer, grammar: Grammar) -> CompiledGrammar:
        seen.append(grammar)
        return compile_grammar(tokenizer, grammar)

    monkeypatch.setattr(module, "compile_grammar", counting)
    return seen


def test_the_same_grammar_is_compiled_once(
    tokenizer: Tokenizer, compilations: list[Grammar]
) -> None:
    cache = GrammarCache(tokenizer)
    first = cache.compiled(Grammar.regex("a+", field="here"))
    assert cache.compiled(Grammar.regex("a+", field="there")) is first
    assert cache.compiled(Grammar.regex("b+")) is not first
    assert len(compilations) == len(cache) == 2
    assert cache.num_bytes >= first.num_bytes


def test_strict_and_not_are_two(tokenizer: Tokenizer) -> None:
    cache = GrammarCache(tokenizer)
    schema = {"type": "string"}
    strict = cache.compiled(Grammar.json_schema(schema))
    assert cache.compiled(Grammar.json_schema(schema, strict=False)) is not strict


def test_the_least_recently_used_goes_first(
    tokenizer: Tokenizer, compilations: list[Grammar]
) -> None:
    size = GrammarCache(tokenizer).compiled(Grammar.regex("a+")).num_bytes
    cache = GrammarCache(tokenizer, max_bytes=2 * size)
    del compilations[:]
    a, b, c = map(Grammar.regex, ("a+", "b+", "c+"))
    for grammar in (a, b, a, c, a):
        cache.compiled(grammar)
    assert compilations == [a, b, c]
    cache.compiled(b)
    assert compilations == [a, b, c, b]
    assert cache.num_bytes == 2 * size


def test_one_that_is_larger_than_the_cache_is_still_given(tokenizer: Tokenizer) -> None:
    cache = GrammarCache(tokenizer, max_bytes=1)
    assert cache.compiled(Grammar.regex("a+")).num_bytes > 1
    assert len(cache) == cache.num_bytes == 0


def _slow(event: threading.Event) -> Callable[[Tokenizer, Grammar], CompiledGrammar]:
    def compile_slowly(tokenizer: Tokenizer, grammar: Grammar) -> CompiledGrammar:
        event.wait(10)
        return compile_grammar(tokenizer, grammar)

    return compile_slowly


def test_one_that_takes_too_long_is_refused_and_there_later(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = threading.Event()
    monkeypatch.setattr(module, "compile_grammar", _slow(event))
    cache, grammar = GrammarCache(tokenizer, seconds=0.05), Grammar.regex("a+", field="pattern")
    with pytest.raises(RequestError, match=r"^pattern: a regular expression .* 0\.05 s to compile"):
        cache.compiled(grammar)
    event.set()
    while not len(cache):
        time.sleep(0.001)
    cache.compiled(grammar)


def test_many_who_ask_at_once_wait_for_one_compilation(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, compilations: list[Grammar]
) -> None:
    event = threading.Event()
    counting = module.compile_grammar

    def waiting(tokenizer: Tokenizer, grammar: Grammar) -> CompiledGrammar:
        event.wait(10)
        return counting(tokenizer, grammar)

    monkeypatch.setattr(module, "compile_grammar", waiting)
    cache, found = GrammarCache(tokenizer), list[CompiledGrammar]()
    threads = [
        threading.Thread(target=lambda: found.append(cache.compiled(Grammar.regex("a+"))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    event.set()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(compilations) == 1
    assert len(set(map(id, found))) == 1


def test_a_refusal_is_not_kept(tokenizer: Tokenizer, compilations: list[Grammar]) -> None:
    cache = GrammarCache(tokenizer)
    for _ in range(2):
        with pytest.raises(RequestError):
            cache.compiled(Grammar.regex("("))
    assert len(compilations) == 2
    assert len(cache) == 0


def test_a_process_has_one(tokenizer: Tokenizer) -> None:
    assert grammar_cache(tokenizer) is grammar_cache(tokenizer)


def test_what_the_first_grammar_has_to_wait_for_is_not_its_own_time(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = module.ll_tokenizer

    def slowly(tokenizer: Tokenizer) -> object:
        time.sleep(2.0)
        return made(tokenizer)

    made(tokenizer)
    monkeypatch.setattr(module, "ll_tokenizer", slowly)
    assert GrammarCache(tokenizer, seconds=1.5).compiled(Grammar.regex("a+")).first
