"""The file of a GenerationConfig: where it is, and how its values look in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ossia.api.model_source import find_model
from ossia.errors import ModelNotFoundError

CONFIG_FILE = "generation_config.json"


def find_config_file(
    name: str,
    file_name: str,
    *,
    revision: str | None,
    cache_dir: str | Path | None,
    token: str | bool | None,
    local_files_only: bool,
    force_download: bool,
) -> Path:
    """The file of a model; of a hub model only this file is fetched.

    Raises:
        ModelNotFoundError: no such model, or it has no such file.
    """
    known = token if isinstance(token, str) else None
    if not force_download:
        try:
            source = find_model(name, revision=revision, cache_dir=cache_dir, token=known)
        except ModelNotFoundError:
            if local_files_only or "/" not in name or name.startswith((".", "/", "~")):
                raise
        else:
            path = None if source.folder is None else source.folder / file_name
            if path is None or not path.is_file():
                raise ModelNotFoundError(f"{name} has no {file_name}")
            return path
    return _fetch(name, file_name, revision, cache_dir, token, force_download)


def _fetch(
    repo_id: str,
    file_name: str,
    revision: str | None,
    cache_dir: str | Path | None,
    token: str | bool | None,
    force_download: bool,
) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    from ossia.checkpoint.hub_errors import hub_errors

    with hub_errors(repo_id, revision):
        try:
            path = hf_hub_download(
                repo_id,
                file_name,
                revision=revision,
                cache_dir=cache_dir,
                token=token,
                force_download=force_download,
            )
        except RemoteEntryNotFoundError as error:
            raise ModelNotFoundError(f"{repo_id} has no {file_name}") from error
    return Path(path)


def plain_json(value: Any) -> Any:
    """A value that JSON can hold; biases of id sequences become pairs, as transformers reads them."""
    if isinstance(value, Mapping):
        if any(isinstance(key, tuple) for key in value):
            return [[list(key), bias] for key, bias in value.items()]
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    return value
