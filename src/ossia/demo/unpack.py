"""demo_folder: the demo checkpoint as an ordinary folder, unpacked into the cache once."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

from ossia.config import ModelConfig
from ossia.demo.packing import checksum, unpack_model
from ossia.env import cache_folder
from ossia.errors import CheckpointError
from ossia.tokenizer.special import LAST_LISTED, SPECIAL_TOKENS
from ossia.tokenizer.vocabulary import tokenizer_json
from ossia.types import ProgressCallback

PACKED_FILE = "demo.bin"
TEMPLATE_FILE = "chat_template.jinja"

_NAMES = {
    "bos_token": "<|startoftext|>",
    "eos_token": "<|return|>",
    "pad_token": "<|endoftext|>",
}


def demo_folder(cache_dir: Path | None = None, progress: ProgressCallback | None = None) -> Path:
    """Where the demo checkpoint lies in the Hugging Face layout; unpacks it the first time.

    The folder's name carries the checksum of the packed file, so a newer package unpacks its own.
    Several processes may ask at once: each works in a folder of its own, and the first to finish
    wins.

    Args:
        cache_dir: Where to keep it; `ossia.env.cache_folder()` by default.
        progress: Called with ("unpacking the demo model", steps done, steps in all).

    Raises:
        CheckpointError: the package's file is damaged, or the cache cannot be written.
    """
    resources = files("ossia.demo")
    packed = resources.joinpath(PACKED_FILE).read_bytes()
    parent = cache_dir if cache_dir is not None else cache_folder()
    target = parent / f"demo-{checksum(packed).hex()[:16]}"
    if target.is_dir():
        return target
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".demo-") as working:
            template = resources.joinpath(TEMPLATE_FILE).read_text(encoding="utf-8")
            # The tokenizer's file is Python's work, the weights are mostly not: they overlap.
            with ThreadPoolExecutor(max_workers=1) as beside:
                side_files = beside.submit(_write_side_files, Path(working), template)
                _write(packed, Path(working) / "model", side_files, progress)
            _move(Path(working) / "model", target)
    except OSError as error:
        raise CheckpointError(
            f"the demo model cannot be unpacked here ({error.strerror}); set OSSIA_CACHE to a "
            "folder that can be written",
            file=error.filename or parent,
        ) from error
    return target


def _write(
    packed: bytes,
    folder: Path,
    side_files: Future[list[Path]],
    progress: ProgressCallback | None,
) -> None:
    # What needs torch is needed once: later, whoever wants the tokenizer alone does without.
    from ossia.checkpoint.writer import write_checkpoint
    from ossia.demo.weights import checkpoint_tensors

    model = unpack_model(packed, file=PACKED_FILE)

    def report(_: str, done: int, total: int) -> None:
        if progress is not None:
            progress("unpacking the demo model", done, total)

    write_checkpoint(
        folder,
        ModelConfig.from_hf(model.config),
        checkpoint_tensors(model),
        side_files=_when_done(side_files),
        progress=report,
    )


def _when_done(side_files: Future[list[Path]]) -> Iterator[Path]:
    """The files, waited for when the first is asked for."""
    yield from side_files.result()


def _write_side_files(folder: Path, template: str) -> list[Path]:
    """The tokenizer's files and the chat template, as published checkpoints have them."""
    texts: Mapping[str, bytes] = {
        "tokenizer.json": tokenizer_json(),
        "tokenizer_config.json": _as_json(tokenizer_config()),
        "special_tokens_map.json": _as_json(_NAMES),
        TEMPLATE_FILE: template.encode(),
    }
    for name, content in texts.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in texts]


def tokenizer_config() -> dict[str, Any]:
    """The tokenizer_config.json of gpt-oss: special tokens and how transformers loads the rest."""
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "added_tokens_decoder": {
            str(token_id): {"content": content, **plain, "special": True}
            for token_id, content in SPECIAL_TOKENS.items()
            if token_id <= LAST_LISTED
        },
        **_NAMES,
        "clean_up_tokenization_spaces": False,
        "extra_special_tokens": {},
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 131_072,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _as_json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _move(folder: Path, target: Path) -> None:
    """Rename into place; if another process was first, its folder holds the same and stays."""
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(folder)
