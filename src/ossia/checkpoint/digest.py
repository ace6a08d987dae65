"""The hashes by which the Hub knows files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

_CHUNK_BYTES = 1 << 22


def hub_digest(path: Path, *, is_lfs: bool, progress: Callable[[int], None]) -> str:
    """Hash a file as the hub does: SHA-256 for LFS files, git's blob id for the others.

    Args:
        path: The file.
        is_lfs: Which of the two.
        progress: Called with the number of bytes hashed so far.

    Returns:
        Hexadecimal digest.
    """
    # Git puts a header before the content (Git Internals, "Object Storage").
    header = f"blob {path.stat().st_size}\0".encode()
    digest = hashlib.sha256() if is_lfs else hashlib.sha1(header, usedforsecurity=False)
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            progress(done)
    return digest.hexdigest()
