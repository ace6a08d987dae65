"""The library as an oracle, offline; and our tokenizer, made once."""

from __future__ import annotations

import pytest

from ossia.harmony import Renderer
from ossia.tokenizer import Tokenizer
from support.harmony_oracle import Oracle
from support.vocabulary import write_tiktoken_files


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.o200k_harmony()


@pytest.fixture(scope="session")
def renderer(tokenizer: Tokenizer) -> Renderer:
    return Renderer(tokenizer)


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Oracle:
    import openai_harmony

    folder = tmp_path_factory.mktemp("vocabulary")
    write_tiktoken_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_ENCODINGS_BASE", str(folder))
        return Oracle(openai_harmony.load_harmony_encoding("HarmonyGptOss"))
