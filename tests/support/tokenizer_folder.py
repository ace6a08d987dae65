"""A folder with the tokenizer's files alone, and both libraries' tokenizers of it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from ossia.demo.unpack import tokenizer_config
from ossia.tokenizer import vocabulary


def write_tokenizer_folder(folder: Path, **settings: object) -> Path:
    """Write what published checkpoints have; `settings` change tokenizer_config.json."""
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_bytes(vocabulary.tokenizer_json())
    text = json.dumps({**tokenizer_config(), **settings})
    (folder / "tokenizer_config.json").write_text(text)
    template = files("ossia.demo").joinpath("chat_template.jinja").read_text(encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template)
    return folder
