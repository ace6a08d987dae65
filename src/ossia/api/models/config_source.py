"""read_raw_config: the config.json behind a model name, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ossia.api.model_source import find_model
from ossia.checkpoint.folder import find_checkpoint


def read_raw_config(
    name: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> dict[str, Any]:
    """The JSON object of a model's config.json, of either kind.

    Raises:
        ModelNotFoundError: nothing has this name.
        ConfigError: it has none, or one that is no JSON object.
    """
    source = find_model(
        str(name),
        revision=revision,
        cache_dir=cache_dir,
        token=token if isinstance(token, str) else None,
        download=not local_files_only,
    )
    if source.random_config is not None:
        return source.random_config.to_hf()
    assert source.folder is not None
    return find_checkpoint(source.folder).raw_config
