"""An engine process whose tokens tell which they are, and when they were made.

A request's text is six digits of its number, then 002, 003, ... up to its length: each three digits are
a token. The times are kept in a file beside, so that they cost next to nothing.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ossia.server.engine.worker import serve
from ossia.types import Request, TokenOutput
from support.scripted_worker import Script, ScriptedCore, load

_TIME = struct.Struct("<d")
_MOST_REQUESTS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class TimedScript:
    """What the process says.

    Args:
        times: The file for the times, which `times_file` made.
        opening: Ids before the text.
        numbers: Ids of the texts 000 to 999.
        closing: The id that ends it.
        tokens: Of a text; at most 999.
        gathers: Requests that it waits for before it says anything to them.
        rate: Tokens a second for each request; 0 is as fast as it can.
    """

    times: str
    opening: list[int]
    numbers: list[int]
    closing: int
    tokens: int
    gathers: int = 1
    rate: float = 0.0

    def command(self) -> list[str]:
        """The command line that says this."""
        return [sys.executable, "-m", "support.timed_worker", json.dumps(asdict(self))]

    def text(self, key: int) -> str:
        """What request number `key` is told."""
        numbers = (key // 1000, key % 1000, *range(2, self.tokens))
        return "".join(f"{number:03}" for number in numbers)


def times_file(path: Path, tokens: int) -> None:
    """A file for the times of so many tokens of each request; it takes room only where written."""
    with path.open("wb") as file:
        file.truncate(_MOST_REQUESTS * tokens * _TIME.size)


def times_of(path: Path, tokens: int, keys: Sequence[int]) -> dict[int, tuple[float, ...]]:
    """When each token of some requests was made, on the machine's monotonic clock."""
    row = struct.Struct(f"<{tokens}d")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        return {key: row.unpack_from(mapped, key * row.size) for key in keys}


class _TimedCore(ScriptedCore):
    def __init__(self, script: TimedScript) -> None:
        super().__init__(Script(rate=script.rate, max_running=_MOST_REQUESTS))
        self._timed = script
        self._times = mmap.mmap(os.open(script.times, os.O_RDWR), 0)
        self._gathered = False

    @property
    def has_work(self) -> bool:
        self._gathered = bool(self._live) and (
            self._gathered or len(self._live) >= self._timed.gathers
        )
        return self._gathered

    def ids_for(self, request: Request) -> list[int]:
        timed, key = self._timed, int(request.request_id)
        first = (timed.numbers[key // 1000], timed.numbers[key % 1000])
        return [*timed.opening, *first, *timed.numbers[2 : timed.tokens], timed.closing]

    def step(self) -> list[TokenOutput]:
        timed = self._timed
        before = {name: one.place - len(timed.opening) for name, one in self._live.items()}
        outputs = super().step()
        now = time.monotonic()
        for output in outputs:
            place = before[output.request_id]
            if 0 <= place < timed.tokens:
                offset = (int(output.request_id) * timed.tokens + place) * _TIME.size
                _TIME.pack_into(self._times, offset, now)
        return outputs


if __name__ == "__main__":
    said = TimedScript(**json.loads(sys.argv[1]))
    script = Script(max_running=_MOST_REQUESTS)
    os._exit(serve(lambda outbox: load(script, outbox, lambda _script: _TimedCore(said))))
