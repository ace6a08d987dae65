"""ModelSource: what a model name stands for. Everything that takes a model takes these names.

| name                           | model                                              |
|--------------------------------|----------------------------------------------------|
| `demo`                         | the small trained model inside the package         |
| `random:20b`, `120b`, `tiny`   | random weights of that shape, made without a file  |
| a path                         | a checkpoint folder of either layout               |
| `owner/name`                   | a hub repository                                   |
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ossia.config import PRESETS, ModelConfig
from ossia.errors import ModelNotFoundError, RequestError
from ossia.tokenizer import Tokenizer
from ossia.types import ProgressCallback

DEMO = "demo"
_RANDOM = "random:"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_PATH_START = ("/", "./", "../", "~")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model that was found.

    Args:
        name: As the user gave it.
        folder: The checkpoint folder; None for random weights.
        random_config: Shape of random weights; None for a folder.
    """

    name: str
    folder: Path | None = None
    random_config: ModelConfig | None = None

    def tokenizer(self) -> Tokenizer:
        """The checkpoint's own tokenizer, or the package's where it has none.

        Raises:
            CheckpointError: its tokenizer.json is damaged or not of gpt-oss.
        """
        from ossia.checkpoint.folder import find_side_file

        file = None if self.folder is None else find_side_file(self.folder, "tokenizer.json")
        return Tokenizer.o200k_harmony() if file is None else Tokenizer.from_folder(file.parent)


def names_model(text: str) -> bool:
    """Whether a word can only be meant as a model name, be there such a model or not.

    A prompt hardly ever is a path, has the form `owner/name` or begins with `random:`.
    """
    return (
        text == DEMO
        or text.startswith((_RANDOM, *_PATH_START))
        or _HUB_ID.fullmatch(text) is not None
        or (" " not in text and os.path.isdir(text))
    )


def is_hub_id(name: str) -> bool:
    """Whether a name can only stand for a hub repository here."""
    return (
        _HUB_ID.fullmatch(name) is not None
        and not name.startswith(_PATH_START)
        and not os.path.exists(name)
    )


def comes_with_ossia(name: str) -> bool:
    """Whether a name stands for the demo or for random weights, which are no files of a hub."""
    return name == DEMO or name.startswith(_RANDOM)


def check_revision(name: str, revision: str | None) -> None:
    """Refuse a revision of what comes with Ossia, but for "main", which transformers' code says of itself.

    Raises:
        RequestError: there are no revisions of it.
    """
    if revision not in (None, "main") and comes_with_ossia(name):
        raise RequestError(
            f"is for hub repositories, and {name} comes with Ossia; leave it out", field="revision"
        )


def in_subfolder(name: str | Path, subfolder: str | None) -> str:
    """The name of what lies in a part of a folder.

    Raises:
        RequestError: a part of what is no folder.
    """
    if not subfolder:
        return str(name)
    folder = Path(name).expanduser()
    if name == DEMO or not folder.is_dir():
        raise RequestError(
            f"{name} is no folder here; fetch it, as with `hf download`, and give its folder",
            field="subfolder",
        )
    return str(folder / subfolder)


def find_model(
    name: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    download: bool = False,
    force_download: bool = False,
    progress: ProgressCallback | None = None,
) -> ModelSource:
    """Find the model that a name stands for.

    Args:
        name: See the table above.
        revision: Branch, tag or commit; of hub repositories only.
        cache_dir: Where hub files are kept.
        token: Access token of the hub.
        download: Fetch a hub repository that is not here; else that is an error.
        force_download: Fetch its files even if they are here.
        progress: Told of unpacking and downloading.

    Raises:
        ModelNotFoundError: nothing has this name; says what was tried.
        ConfigError: an unknown `random:` preset.
        RequestError: `force_download` of what must not be downloaded, or a revision of what has none.
    """
    check_revision(name, revision)
    if name == DEMO:
        from ossia.demo.unpack import demo_folder

        return ModelSource(name=name, folder=demo_folder(progress=progress))
    if comes_with_ossia(name):
        from ossia.checkpoint.random_weights import parse_random_name

        return ModelSource(name=name, random_config=parse_random_name(name))
    # Not Path.exists, which raises on names that no file can have.
    if os.path.exists(os.path.expanduser(name)):
        return ModelSource(name=name, folder=Path(name).expanduser())
    if name.startswith(_PATH_START):
        raise ModelNotFoundError(f"{name}: no such folder")
    if _HUB_ID.fullmatch(name) is None:
        presets = ", ".join(f"{_RANDOM}{preset}" for preset in PRESETS)
        raise ModelNotFoundError(
            f"{name!r} is no folder, no hub id (owner/name) and none of {DEMO}, {presets}"
        )
    if force_download and not download:
        raise RequestError("contradicts local_files_only; give one", field="force_download")
    folder = None if force_download else _downloaded(name, revision, cache_dir)
    if folder is None:
        if not download:
            raise ModelNotFoundError(
                f"{name} is no folder here and was not downloaded; run `ossia pull {name}`"
            )
        from ossia.checkpoint.download import pull

        folder = pull(
            name,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            force_download=force_download,
            progress=progress,
        )
    return ModelSource(name=name, folder=folder)


def _downloaded(repo_id: str, revision: str | None, cache_dir: str | Path | None) -> Path | None:
    """The folder of a hub repository that is here already, in either layout."""
    from ossia.checkpoint.download import pull

    for files in ("hf", "original"):
        try:
            return pull(
                repo_id,
                revision=revision,
                cache_dir=cache_dir,
                local_files_only=True,
                files=files,
            )
        except ModelNotFoundError:
            continue
    return None
