"""The files around a tokenizer: where they are found, what they say, how they are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from ossia.api.model_source import DEMO, ModelSource, find_model
from ossia.checkpoint.folder import find_side_file
from ossia.errors import CheckpointError, ModelNotFoundError
from ossia.tokenizer import Tokenizer, special

TOKENIZER_FILE = "tokenizer.json"
SETTINGS_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
_NAMES_FILE = "special_tokens_map.json"
_HUB_FILES = (TOKENIZER_FILE, SETTINGS_FILE, TEMPLATE_FILE, _NAMES_FILE)
DEFAULTS: Mapping[str, object] = {
    "bos_token": special.SPECIAL_TOKENS[special.STARTOFTEXT],
    "eos_token": special.SPECIAL_TOKENS[special.RETURN],
    "pad_token": special.SPECIAL_TOKENS[special.ENDOFTEXT],
}
"""The roles of tokens in the published checkpoints, where a folder says nothing."""


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """What a model's files say of its tokenizer.

    Args:
        tokenizer: The vocabulary.
        settings: Of tokenizer_config.json.
        chat_template: Jinja; None if there is none.
    """

    tokenizer: Tokenizer
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    chat_template: str | None = None

    @classmethod
    def of_folder(cls, folder: Path) -> TokenizerFiles:
        """Read a folder; without a vocabulary, that and the chat template are the package's.

        Raises:
            CheckpointError: a file is damaged, or the vocabulary is not gpt-oss's.
        """
        file = find_side_file(folder, TOKENIZER_FILE)
        tokenizer = (
            Tokenizer.o200k_harmony() if file is None else Tokenizer.from_folder(file.parent)
        )
        named = _read_json(find_side_file(folder, _NAMES_FILE))
        settings = {**DEFAULTS, **named, **_read_json(find_side_file(folder, SETTINGS_FILE))}
        template = find_side_file(folder, TEMPLATE_FILE)
        source = settings.pop("chat_template", None)
        if template is not None:
            source = template.read_text(encoding="utf-8")
        elif source is None and file is None:
            source = _packaged_template()
        if source is not None and not isinstance(source, str):
            raise CheckpointError(
                "holds several chat templates; keep one, as chat_template.jinja", file=folder
            )
        return cls(tokenizer, settings, source)

    @classmethod
    def of_random_model(cls) -> TokenizerFiles:
        """The package's own, for models without files."""
        return cls(Tokenizer.o200k_harmony(), dict(DEFAULTS), _packaged_template())

    @classmethod
    def of_source(cls, source: ModelSource) -> TokenizerFiles:
        """Those of a model that was found."""
        return cls.of_random_model() if source.folder is None else cls.of_folder(source.folder)


def find_tokenizer(
    name: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    subfolder: str = "",
) -> TokenizerFiles:
    """Read the tokenizer of a model by its name; of a hub repository only its small files.

    Args:
        name: A folder, a hub id, `demo` or `random:...`.
        revision: Branch, tag or commit of a hub id.
        cache_dir: Where hub files are kept.
        token: Access token of the hub; True takes the stored one.
        local_files_only: Never download.
        force_download: Fetch hub files even if they are here.
        subfolder: Where in the folder or repository they are.

    Raises:
        ModelNotFoundError: nothing has this name.
        CheckpointError: a file is damaged, or not of gpt-oss.
    """
    try:
        if force_download:
            raise ModelNotFoundError(name)
        source = find_model(name, revision=revision, cache_dir=cache_dir)
    except ModelNotFoundError:
        if name == DEMO or name.count("/") != 1 or name.startswith((".", "/", "~")):
            raise
        from ossia.checkpoint.small_files import pull_small_files

        folder = pull_small_files(
            name,
            [f"{subfolder}/{file}" if subfolder else file for file in _HUB_FILES],
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        return TokenizerFiles.of_folder(folder / subfolder)
    if source.folder is not None and subfolder:
        return TokenizerFiles.of_folder(source.folder / subfolder)
    return TokenizerFiles.of_source(source)


def write_tokenizer(
    folder: Path, tokenizer: Tokenizer, settings: Mapping[str, Any], chat_template: str | None
) -> tuple[str, ...]:
    """Write the files that make up a tokenizer, as transformers 4 and 5 read them.

    Returns:
        Their paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        folder / SETTINGS_FILE: (json.dumps(settings, indent=2, ensure_ascii=False) + "\n").encode()
    }
    if chat_template is not None:
        written[folder / TEMPLATE_FILE] = chat_template.encode()
    written[folder / TOKENIZER_FILE] = tokenizer.to_json()
    for path, content in written.items():
        path.write_bytes(content)
    return tuple(map(str, written))


def _packaged_template() -> str:
    return files("ossia.demo").joinpath(TEMPLATE_FILE).read_text(encoding="utf-8")


def _read_json(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"not JSON: {error}", file=file) from error
    if not isinstance(read, dict):
        raise CheckpointError("not a JSON object", file=file)
    return read
