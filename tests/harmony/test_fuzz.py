"""Short runs of the commands in tests/fuzz."""

from __future__ import annotations

from fuzz import parser, renderer
from ossia.tokenizer import Tokenizer
from support.harmony_oracle import Oracle


def test_streams_of_all_kinds_lose_nothing(tokenizer: Tokenizer) -> None:
    counts = parser.fuzz(tokenizer, 20_000, seed=2)
    assert counts["tokens"] >= 20_000
    kinds = [name for name in counts if name.endswith(" streams")]
    assert len(kinds) == 4
    assert sum(counts[name] for name in kinds) == counts["streams"]


def test_conversations_render_as_the_library_renders_them(
    tokenizer: Tokenizer, oracle: Oracle
) -> None:
    counts = renderer.fuzz(tokenizer, oracle, 60, seed_=2)
    assert counts["conversations"] >= 60
    assert 0 < counts["the same without switching anything back"] < counts["conversations"]
