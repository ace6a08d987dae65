"""Grammars that cost more than they say, straight to the compiler: it ends, with or without one."""

from __future__ import annotations

import pytest

from ossia.errors import RequestError
from ossia.structured import Grammar
from ossia.structured.cache import GrammarCache
from ossia.structured.compiling import CompiledGrammar

BOMBS = {
    "10^4 enum values": {"enum": [f"value {n}" for n in range(10_000)]},
    "5000 anyOf": {"anyOf": [{"type": "string", "pattern": f"^{n}a*b+$"} for n in range(5000)]},
    "maxLength 10^6": {"type": "string", "maxLength": 10**6},
    "nested quantifiers": {"type": "string", "pattern": "^((a{1,200}){1,200}){1,200}$"},
    "500 optional properties": {
        "type": "object",
        "properties": {f"p{n}": {"type": "string"} for n in range(500)},
    },
}


@pytest.mark.parametrize("name", BOMBS)
def test_it_is_compiled_or_refused(cache: GrammarCache, name: str) -> None:
    grammar = Grammar.json_schema(BOMBS[name], field="here")
    refused: RequestError | None = None
    try:
        compiled: CompiledGrammar | None = cache.compiled(grammar)
    except RequestError as error:
        compiled, refused = None, error
    if refused is not None:
        assert refused.field == "here"
    else:
        assert compiled is not None
        assert any(compiled.first.bits), "something may come first"
    assert cache.num_bytes <= 2**28
