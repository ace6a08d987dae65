"""pull: fetch a checkpoint from the Hugging Face Hub into its shared cache, and verify it.

The hub's own client does the transfer: a cut connection goes on where it stopped, and files that
an earlier pull finished are not fetched again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from ossia.checkpoint.config_file import CONFIG_FILE
from ossia.checkpoint.digest import hub_digest
from ossia.checkpoint.folder import ORIGINAL_FOLDER, SIDE_FILES, find_checkpoint
from ossia.checkpoint.hub_errors import HubUnreachableError, hub_errors
from ossia.checkpoint.transfer_meter import TransferMeter
from ossia.errors import CheckpointError, ModelNotFoundError
from ossia.types import ProgressCallback

WhichFiles = Literal["hf", "original"]

_HF_FILES = ("*.json", "*.jinja", "*.safetensors", "LICENSE*")
_CONFIG_FILES = {"hf": CONFIG_FILE, "original": f"{ORIGINAL_FOLDER}/{CONFIG_FILE}"}
_GIGABYTE = 1e9


@dataclass(frozen=True, slots=True)
class _Source:
    """Which files are wanted, and how to get at them."""

    repo_id: str
    revision: str | None
    cache_dir: Path
    token: str | bool | None
    endpoint: str | None


def pull(
    repo_id: str,
    *,
    revision: str | None = None,
    cache_dir: Path | str | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    files: WhichFiles = "hf",
    endpoint: str | None = None,
    progress: ProgressCallback | None = None,
) -> Path:
    """Fetch what is not in the cache yet, check every file's hash, and say where it all is.

    If the hub cannot be reached, a complete checkpoint in the cache is returned unchecked.

    Args:
        repo_id: "owner/name" on the hub.
        revision: Branch, tag or commit; None means "main".
        cache_dir: Cache to use; None means the hub client's, shared with other programs.
        token: For gated and private models; None or True means the one that `hf auth login` stored.
        local_files_only: Do not ask the hub; what is in the cache must suffice.
        force_download: Fetch files that are in the cache, too.
        files: The Hugging Face layout, or the `original` one.
        endpoint: Another hub; None means `HF_ENDPOINT` or huggingface.co.
        progress: Called with ("downloading" or "verifying", bytes done, bytes in all).

    Returns:
        A folder that `open_checkpoint` takes.

    Raises:
        ModelNotFoundError: no such model or revision, no access to it, or hub out of reach and
            nothing complete in the cache.
        CheckpointError: it holds no safetensors, a file's hash is wrong, or the disk is too small.
    """
    cache_dir = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir).expanduser()
    source = _Source(repo_id, revision, cache_dir, token, endpoint)
    if local_files_only:
        return _cached_folder(source, files)
    try:
        with hub_errors(source.repo_id, source.revision):
            info = HfApi(endpoint=endpoint, token=token).model_info(
                repo_id, revision=revision, files_metadata=True
            )
    except HubUnreachableError as error:
        try:
            return _cached_folder(source, files)
        except ModelNotFoundError as missing:
            raise ModelNotFoundError(f"{error}; {missing}") from error
    wanted = _select(source, info, files)
    _check_disk(source, info, wanted)
    with hub_errors(source.repo_id, source.revision):
        paths = _download(source, info, wanted, progress, force_download)
    _verify(wanted, paths, progress)
    return _cached_folder(source, files)


def _cached_folder(source: _Source, files: WhichFiles) -> Path:
    with hub_errors(source.repo_id, source.revision):
        config = try_to_load_from_cache(
            source.repo_id,
            _CONFIG_FILES[files],
            cache_dir=source.cache_dir,
            revision=source.revision,
        )
    if not isinstance(config, str):
        raise ModelNotFoundError(f"{source.repo_id} is not in {source.cache_dir}; run `ossia pull`")
    folder = Path(config).parent
    try:
        find_checkpoint(folder)
    except CheckpointError as error:
        raise ModelNotFoundError(
            f"{source.repo_id} is only partly in {source.cache_dir}; run `ossia pull` again"
        ) from error
    return folder


def _select(source: _Source, info: ModelInfo, files: WhichFiles) -> list[RepoSibling]:
    """The files to fetch; weights last, so that an interrupted pull is seen to be incomplete."""
    names = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    if files == "hf":
        chosen = [
            name
            for name in names
            if "/" not in name and any(fnmatchcase(name, pattern) for pattern in _HF_FILES)
        ]
    else:
        chosen = [name for name in names if name.startswith(f"{ORIGINAL_FOLDER}/")]
        chosen += [name for name in names if name in SIDE_FILES]
    if not any(name.endswith(".safetensors") for name in chosen):
        raise CheckpointError(f"{source.repo_id} has no safetensors files of the {files} layout")
    if _CONFIG_FILES[files] not in chosen:
        raise CheckpointError(f"{source.repo_id} has no {_CONFIG_FILES[files]}")
    chosen.sort(key=lambda name: (name.endswith(".safetensors"), name))
    return [names[name] for name in chosen]


def _check_disk(source: _Source, info: ModelInfo, wanted: list[RepoSibling]) -> None:
    needed = sum(
        sibling.size or 0
        for sibling in wanted
        if not isinstance(
            try_to_load_from_cache(
                source.repo_id, sibling.rfilename, cache_dir=source.cache_dir, revision=info.sha
            ),
            str,
        )
    )
    folder = source.cache_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CheckpointError(
            f"has {free / _GIGABYTE:.1f} GB free, {source.repo_id} needs "
            f"{needed / _GIGABYTE:.1f} GB more; free some or choose another cache folder",
            file=source.cache_dir,
        )


def _download(
    source: _Source,
    info: ModelInfo,
    wanted: list[RepoSibling],
    progress: ProgressCallback | None,
    force: bool,
) -> list[Path]:
    meter = TransferMeter(progress, sum(sibling.size or 0 for sibling in wanted), "downloading")
    paths: list[Path] = []
    for sibling in wanted:
        # The first file is asked for by branch or tag, so that the cache notes which commit that
        # is; the others by the commit, so that all belong together.
        path = hf_hub_download(
            source.repo_id,
            sibling.rfilename,
            revision=info.sha if paths else source.revision,
            cache_dir=source.cache_dir,
            token=source.token,
            endpoint=source.endpoint,
            force_download=force,
            tqdm_class=meter.bar_class(),
        )
        meter.finish_file(sibling.size or 0)
        paths.append(Path(path))
    return paths


def _verify(
    wanted: list[RepoSibling], paths: list[Path], progress: ProgressCallback | None
) -> None:
    meter = TransferMeter(progress, sum(sibling.size or 0 for sibling in wanted), "verifying")
    for sibling, path in zip(wanted, paths, strict=True):
        expected = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        found = hub_digest(path, is_lfs=sibling.lfs is not None, progress=meter.advance)
        if found != expected:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise CheckpointError(
                f"has hash {found[:12]}…, the hub says {str(expected)[:12]}…; the file was removed, "
                "run `ossia pull` again",
                file=path,
            )
        meter.finish_file(sibling.size or 0)
