"""read_raw_config: the config.json behind a model name, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ossia.api.model_source import ModelSource, find_model, is_hub_id
from ossia.checkpoint.config_file import CONFIG_FILE, read_json_object
from ossia.checkpoint.folder import find_side_file
from ossia.errors import ConfigError, ModelNotFoundError


def read_raw_config(
    name: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    token: str | bool | None = None,
) -> dict[str, Any]:
    """The JSON object of a model's config.json, of either kind.

    Args:
        name: A folder, with weights or without, a hub id, `demo` or `random:20b|120b|tiny`.
        revision: Branch, tag or commit of a hub id.
        cache_dir: Where hub files are kept.
        local_files_only: Never download.
        force_download: Fetch a hub repository's anew.
        token: Access token of the hub.

    Raises:
        ModelNotFoundError: nothing has this name.
        ConfigError: it has none, or one that is no JSON object.
    """
    try:
        if force_download and is_hub_id(str(name)):
            raise ModelNotFoundError(str(name))
        return _config_of(find_model(str(name), revision=revision, cache_dir=cache_dir))
    except ModelNotFoundError:
        if not is_hub_id(str(name)):
            raise
    from ossia.checkpoint.small_files import pull_small_files

    folder = pull_small_files(
        str(name),
        (),
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    return read_json_object(folder / CONFIG_FILE, ConfigError)


def _config_of(source: ModelSource) -> dict[str, Any]:
    if source.folder is None:
        assert source.random_config is not None
        return source.random_config.to_hf()
    inside = find_side_file(source.folder / "original", CONFIG_FILE)
    file = find_side_file(source.folder, CONFIG_FILE) or inside
    return read_json_object(file or source.folder / CONFIG_FILE, ConfigError)
