"""atomic_folder: a folder that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ossia.errors import CheckpointError, OssiaError


@contextmanager
def atomic_folder(target: Path, *, replaces: str | None = None) -> Iterator[Path]:
    """Give a temporary folder beside `target` that takes its place when the block ends well.

    If the block fails, the temporary folder is removed and whatever was at `target` stays.

    Args:
        target: The folder to make. It may exist if it is empty.
        replaces: A file name; a non-empty `target` that holds it is replaced. None refuses.

    Raises:
        CheckpointError: `target` is in the way, or cannot be written.
    """
    target = target.resolve()
    _check_target(target, replaces)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        _sync(partial)
        _swap(partial, target)
    except OssiaError:
        raise
    except OSError as error:
        place = error.filename or target
        raise CheckpointError(f"cannot be written: {error.strerror}", file=place) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_target(target: Path, replaces: str | None) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise CheckpointError("is a file; choose a folder to write to", file=target)
    if not any(target.iterdir()):
        return
    if replaces is None:
        raise CheckpointError("is not empty; choose another folder or overwrite", file=target)
    if not (target / replaces).is_file():
        raise CheckpointError(
            f"is not empty and holds no {replaces}, so it is not overwritten", file=target
        )


def _swap(partial: Path, target: Path) -> None:
    """Move the new folder in; the old one is set aside until that has worked."""
    old = partial.with_suffix(".old")
    if target.exists():
        target.rename(old)
    try:
        partial.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    _sync_entry(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Flush everything in the folder to the disk: a rename must not outrun the data."""
    for path in folder.iterdir():
        _sync_entry(path)
    _sync_entry(folder)


def _sync_entry(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open folders, and renames there are journalled
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
