"""allocator: where a server's small objects are, so that their memory can go back to the system.

Python's own allocator gives memory back in pieces of 1 MiB, and only when nothing in a piece is in
use: a few hundred objects that outlive a thousand streams keep all the memory that those took. The
C library can give back single pages, when it is told to.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping

_VARIABLE = "PYTHONMALLOC"  # Python reads it when it starts, and not again
_MALLOC = "malloc"


def with_malloc(environ: Mapping[str, str]) -> dict[str, str] | None:
    """The environment in which Python can give back single pages.

    Returns:
        None where this one has to do: someone has chosen, or the C library cannot do it.
    """
    if _VARIABLE in environ or _trim() is None:
        return None
    return {**environ, _VARIABLE: _MALLOC}


def without_malloc(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process that has no rushes, and is faster with Python's allocator."""
    return {name: value for name, value in environ.items() if (name, value) != (_VARIABLE, _MALLOC)}


def give_back() -> None:
    """Give the system all pages that are not in use; milliseconds."""
    if sys.version_info < (3, 13):
        # Each positional pattern (`case str(text)`) asks for `__match_args__` under a new string,
        # and the cache of attributes keeps thousands of them, one here and one there.
        sys._clear_type_cache()
    if (trim := _trim()) is not None:
        trim(0)


def _trim() -> Callable[[int], int] | None:
    """`malloc_trim(3)` of glibc."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
