"""The packed vocabulary written back in tiktoken's own form, for the oracles that read it."""

from __future__ import annotations

import base64
from pathlib import Path

from ossia.tokenizer.vocabulary import token_bytes

TIKTOKEN_CACHE_NAME = "fb374d419588a4632f3f557e76b4b70aebbca790"  # SHA-1 of the file's URL


def tiktoken_file() -> bytes:
    lines = (
        b"%s %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(token_bytes())
    )
    return b"".join(lines)


def write_tiktoken_files(folder: Path) -> None:
    """Under the names that openai_harmony and tiktoken look for."""
    content = tiktoken_file()
    (folder / "o200k_base.tiktoken").write_bytes(content)
    (folder / TIKTOKEN_CACHE_NAME).write_bytes(content)
