"""FolderLock: a folder for one process at a time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ossia.errors import StoreError
from ossia.server.store.private_folder import make_private, open_private

_FILE = "lock"
# What lies in a state folder; lost+found in that of a volume.
_KNOWN = (_FILE, "store.sqlite3*", "*sealing.key*", "lost+found")


class FolderLock:
    """Holds a folder until released, or until the process ends, however it ends.

    Args:
        folder: Made if need be; only its owner can read it then.

    Raises:
        StoreError: another process holds it, it cannot be made, others can read it, or they may have
            put there what it holds.
    """

    def __init__(self, folder: Path) -> None:
        try:
            make_private(folder, _KNOWN)
            self._descriptor = open_private(folder / _FILE, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise StoreError(f"{folder}: {error.strerror}; name another state folder") from error
        try:
            _lock(self._descriptor)
        except OSError:
            self.release()
            raise StoreError(
                f"{folder} is in use by another server; name another state folder"
            ) from None

    def release(self) -> None:
        """Let others have it."""
        os.close(self._descriptor)


def _lock(descriptor: int) -> None:
    """Take the lock without waiting; an OSError says that another has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
