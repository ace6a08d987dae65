"""From the start of a process to an engine that is warmed up, from a checkpoint on disk.

    python -m benchmarks.start_to_ready
    python -m benchmarks.start_to_ready --model random:20b --bar 40

The first start finds nothing: no compiled kernel in Ossia's and Triton's caches, no compiled module of
Python's, and none of the checkpoint's pages in memory. The next ones find what it has left. Each is a
process of its own, as `ossia bench load --serving` times it. The slowest "ready" is compared with the bar.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from benchmarks.random_checkpoint import on_disk

from ossia.bench.load import measure_load


def drop_from_memory(folder: Path) -> None:
    """Have the system forget a folder's files; reading them goes to the disk again."""
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> int:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="random:20b")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/ossia-random-20b"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--bar", type=float, default=40.0, help="seconds")
    given = parser.parse_args()
    folder = on_disk(given.model, given.folder)
    slowest = 0.0
    with tempfile.TemporaryDirectory() as caches:
        environ = {
            **os.environ,
            "OSSIA_CACHE": f"{caches}/ossia",
            "TRITON_CACHE_DIR": f"{caches}/triton",
            "PYTHONPYCACHEPREFIX": f"{caches}/modules",
        }
        drop_from_memory(folder)
        for number in range(given.starts):
            one = measure_load(str(folder), device=given.device, serving=True, environ=environ)
            slowest = max(slowest, one.ready)
            found = "nothing cached" if number == 0 else "all cached"
            print(
                f"start {number + 1}, {found}: torch {one.imported:.1f} s, loaded {one.loaded:.1f} s, "
                f"ready {one.ready:.1f} s, first token {one.first_token:.1f} s",
                flush=True,
            )
    holds = slowest <= given.bar
    print(f"slowest {slowest:.1f} s: {'within' if holds else 'NOT within'} {given.bar:.0f} s")
    return int(not holds)


if __name__ == "__main__":
    raise SystemExit(main())
