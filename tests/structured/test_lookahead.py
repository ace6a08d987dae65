"""Sets worked out on threads are those worked out in place, and errors arrive where they are asked."""

from __future__ import annotations

import threading

import pytest

from ossia.structured import Grammar
from ossia.structured.cache import GrammarCache
from ossia.structured.compiling import next_tokens
from ossia.structured.lookahead import Lookahead, PendingTokens
from ossia.tokenizer import Tokenizer


def test_whoever_asks_first_works_it_out(cache: GrammarCache) -> None:
    grammar = cache.compiled(Grammar.regex("a+"))
    pending = PendingTokens(grammar.matcher.deep_copy())
    assert pending.result() == grammar.first
    assert pending.result() == grammar.first
    assert pending.seconds > 0
    seconds = pending.seconds
    pending.work()
    assert pending.seconds == seconds, "once only"


def test_who_asks_meanwhile_waits(cache: GrammarCache, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(matcher: object) -> object:
        begun.set()
        assert go_on.wait(10)
        return "what came of it"

    monkeypatch.setattr("ossia.structured.lookahead.next_tokens", slowly)
    pending = Lookahead().start(cache.compiled(Grammar.regex("a+")).matcher.deep_copy())
    assert begun.wait(10)
    threading.Timer(0.05, go_on.set).start()
    assert pending.result() == "what came of it"


def test_an_error_is_raised_where_the_result_is_asked_for(
    tokenizer: Tokenizer, cache: GrammarCache
) -> None:
    matcher = cache.compiled(Grammar.regex("a+")).matcher.deep_copy()
    matcher.consume_token(tokenizer.encode("b")[0])
    with pytest.raises(ValueError, match="satisfy the grammar"):
        Lookahead().start(matcher).result()


def test_many_at_once_are_what_each_is_alone(tokenizer: Tokenizer, cache: GrammarCache) -> None:
    text = tokenizer.encode('{"a": [1, "two", {"three": null}]}')
    compiled = cache.compiled(Grammar.json_object())
    matchers = [compiled.matcher.deep_copy() for _ in text]
    for place, matcher in enumerate(matchers):
        assert matcher.consume_tokens(text[:place])
    expected = [next_tokens(matcher.deep_copy()) for matcher in matchers]
    lookahead = Lookahead()
    for _ in range(3):
        pending = [lookahead.start(matcher) for matcher in matchers]
        assert [one.result() for one in pending] == expected
