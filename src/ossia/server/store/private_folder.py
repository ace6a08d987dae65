"""A folder and files that only their owner can read, whatever the umask."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from ossia.errors import StoreError
from ossia.log import logger

_log = logger(__name__)

_CHECKED: Final = sys.platform != "win32"  # whose permissions are of another kind
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def make_private(folder: Path, known: Iterable[str]) -> None:
    """Make a folder for its owner only, or take the others' rights to one that is there.

    Args:
        folder: It and its parents are made if need be.
        known: Patterns of names that it may hold then; a folder of other things too, such as a
            home, is left as it is.

    Raises:
        StoreError: others can read it, and it is not ours to close.
        OSError: it cannot be made or read.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _CHECKED or not (mode := _mode(status := folder.stat())) & _OTHERS:
        return
    if status.st_uid != os.geteuid():
        why = "belongs to another user"
    elif others := sorted(each.name for each in folder.iterdir() if not _is_one(each.name, known)):
        why = f"holds other things, such as {others[0]}"
    else:
        folder.chmod(mode & ~_OTHERS)
        _log.warning("others could read %s; it is closed to them now", folder)
        return
    raise StoreError(
        f"others can read {folder}, which {why}; name a new folder within it as the state folder"
    )


def make_private_file(file: Path, *, beside: Iterable[Path] = ()) -> None:
    """Make an empty file for its owner only, unless it is there; take the others' rights to it.

    Args:
        file: SQLite gives its mode to the files that it makes beside it.
        beside: Files that may be there already.

    Raises:
        OSError: it cannot be made, or belongs to another user.
    """
    os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    if _CHECKED:
        for each in (file, *beside):
            if each.exists() and (mode := _mode(each.stat())) & _OTHERS:
                each.chmod(mode & ~_OTHERS)


def _mode(status: os.stat_result) -> int:
    return stat.S_IMODE(status.st_mode)


def _is_one(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
