"""The tokenizer from the package, from a folder, and tiktoken as the oracle of both."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiktoken

from ossia.tokenizer import Tokenizer
from ossia.tokenizer.vocabulary import tokenizer_json
from support.vocabulary import write_tiktoken_files


@pytest.fixture(scope="session")
def packaged() -> Tokenizer:
    return Tokenizer.o200k_harmony()


@pytest.fixture(scope="session")
def published() -> bytes:
    """The tokenizer.json of gpt-oss."""
    return tokenizer_json()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, published: bytes) -> Path:
    """A tokenizer.json that is not byte for byte the published one, so it has to be parsed."""
    path = tmp_path_factory.mktemp("checkpoint")
    (path / "tokenizer.json").write_bytes(published + b"\n")
    return path


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> tiktoken.Encoding:
    path = tmp_path_factory.mktemp("vocabulary")
    write_tiktoken_files(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(path))
        return tiktoken.get_encoding("o200k_harmony")
