"""A folder and files that only their owner can read, whatever the umask."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from ossia.errors import StoreError
from ossia.log import logger

_log = logger(__name__)

_CHECKED: Final = sys.platform != "win32"  # whose permissions are of another kind
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_ROOT: Final = 0
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)  # which Windows lacks


def make_private(folder: Path, known: Iterable[str]) -> None:
    """Make a folder for its owner only, or take the others' rights to one that is there.

    Where the file system keeps no permissions, a warning says so.

    Args:
        folder: It and its parents are made if need be.
        known: Patterns of names that it may hold then, besides hidden ones; a folder of other
            things, such as a home, is left as it is.

    Raises:
        StoreError: others can read it, and it is not ours to close; or they can write it, and may
            have put there what it holds.
        OSError: it cannot be made or read.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not _CHECKED or not (mode := _mode(status := folder.stat())) & _OTHERS:
        return
    _check_may_close(folder, status, known)
    with suppress(OSError):  # as some file systems without permissions answer
        folder.chmod(mode & ~_OTHERS)
    if mode & _OTHERS_WRITE and (planted := _planted(folder)):
        with suppress(OSError):
            folder.chmod(mode)  # or the next start would trust it
        raise StoreError(
            f"others can write {folder}, so that they may have put there {planted}; move away "
            f"what you do not know, `chown` the rest to this server's user, and `chmod 700` {folder}"
        )
    if _mode(folder.stat()) & _OTHERS:
        _log.warning(
            "others can read %s still: its file system keeps no permissions; "
            "name a state folder on another one",
            folder,
        )
    else:
        _log.warning("others could read %s; it is closed to them now", folder)


def make_private_file(file: Path, *, beside: Iterable[Path] = ()) -> None:
    """Make an empty file for its owner only, unless it is there; take the others' rights to it.

    Args:
        file: SQLite gives its mode to the files that it makes beside it.
        beside: Files that may be there already.

    Raises:
        StoreError: one of them is a link, or belongs to another user.
        OSError: one of them cannot be made or read.
    """
    os.close(open_private(file, os.O_RDWR | os.O_CREAT))
    for each in beside:
        with suppress(FileNotFoundError):
            os.close(open_private(each, os.O_RDONLY))


def open_private(file: Path, flags: int) -> int:
    """Open a file of a private folder as `os.open` does, and take the others' rights to it.

    Args:
        file: For its owner only, too, if it is made.
        flags: Of `os.open`.

    Returns:
        Its descriptor.

    Raises:
        StoreError: it is a link, or belongs to another user.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(file, flags | _NO_LINK, 0o600)
    except OSError:
        if not file.is_symlink():
            raise
        raise StoreError(f"{file} is a link; put the file itself in its place") from None
    if not _CHECKED:
        return descriptor
    try:
        status = os.fstat(descriptor)
        if status.st_uid not in (os.geteuid(), _ROOT, file.parent.stat().st_uid):
            raise StoreError(
                f"{file} belongs to another user; move it away, or, if you know it, `chown` it to "
                "this server's user"
            )
        if (mode := _mode(status)) & _OTHERS:
            with suppress(OSError):  # one of root's; the folder is closed
                os.fchmod(descriptor, mode & ~_OTHERS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_may_close(folder: Path, status: os.stat_result, known: Iterable[str]) -> None:
    remedy = "move what this server has there to a new folder, and name that"
    if status.st_uid != os.geteuid():
        why = f"belongs to another user ({status.st_uid})"
        close = f"if you know all that it holds, `chown -R {os.geteuid()}` and `chmod 700` it"
        remedy = f"{close}, or {remedy}"
    elif status.st_mode & stat.S_ISVTX and status.st_mode & stat.S_IWOTH:
        why = "is there for all users, as /tmp is"
    elif others := _other_things(folder, known):
        why = f"holds other things, such as {others[0]}"
        remedy = f"`chmod 700` it, or {remedy}"
    else:
        return
    raise StoreError(f"others can read {folder}, which {why}; {remedy}")


def _other_things(folder: Path, known: Iterable[str]) -> list[str]:
    """Names that a state folder has no use for; a home can hold hidden ones only."""
    if folder.resolve() != Path(os.path.expanduser("~")).resolve():
        known = (*known, ".*")
    names = (each.name for each in folder.iterdir())
    return sorted(name for name in names if not any(fnmatch(name, each) for each in known))


def _planted(folder: Path) -> str | None:
    """What of a folder others may have put there, if anything."""
    for each in sorted(folder.iterdir()):
        status = each.lstat()
        is_folder = stat.S_ISDIR(status.st_mode)
        if stat.S_ISLNK(status.st_mode) or (not is_folder and status.st_nlink > 1):
            return f"{each.name}, which is a link"
        # lost+found is root's.
        if status.st_uid != os.geteuid() and not (is_folder and status.st_uid == _ROOT):
            return f"{each.name}, which belongs to another user ({status.st_uid})"
    return None


def _mode(status: os.stat_result) -> int:
    return stat.S_IMODE(status.st_mode)
