"""pull_small_files: a few files of a hub repository, without its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from ossia.checkpoint.config_file import CONFIG_FILE
from ossia.checkpoint.hub_errors import hub_errors
from ossia.errors import ModelNotFoundError


def pull_small_files(
    repo_id: str,
    names: Sequence[str],
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """Fetch config.json and those of the named files that the repository has.

    Args:
        repo_id: "owner/name" on the hub.
        names: Paths in the repository.
        revision: Branch, tag or commit; None means "main".
        cache_dir: Cache to use; None means the hub client's.
        token: For gated and private models; None or True means the stored one.
        local_files_only: Do not ask the hub; what is in the cache must suffice.
        force_download: Fetch them even if they are in the cache.

    Returns:
        The folder in the cache that holds them.

    Raises:
        ModelNotFoundError: no such repository or revision, no access, or hub out of reach and the
            files not in the cache.
    """
    cache = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir).expanduser()

    def fetch(name: str) -> Path:
        path = hf_hub_download(
            repo_id,
            name,
            revision=revision,
            cache_dir=cache,
            token=token,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        return Path(path)

    with hub_errors(repo_id, revision):
        try:
            folder = fetch(CONFIG_FILE).parent
        except LocalEntryNotFoundError as error:
            if not local_files_only:
                raise
            raise ModelNotFoundError(f"{repo_id} is not in {cache}; run `ossia pull`") from error
        for name in names:
            _fetch_if_there(fetch, name, local_files_only)
    return folder


def _fetch_if_there(fetch: Callable[[str], Path], name: str, local_files_only: bool) -> None:
    try:
        fetch(name)
    except LocalEntryNotFoundError:
        if not local_files_only:
            raise
    except EntryNotFoundError:
        pass  # checkpoints need not have every file
