"""One tokenizer and one cache of grammars for all tests: the vocabulary takes a second."""

from __future__ import annotations

import pytest

from ossia.structured.cache import GrammarCache
from ossia.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.o200k_harmony()


@pytest.fixture(scope="session")
def cache(tokenizer: Tokenizer) -> GrammarCache:
    return GrammarCache(tokenizer)
