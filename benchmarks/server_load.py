"""A thousand streams at once: tokens a second, how late each token is, and what is left behind.

    python benchmarks/server_load.py
    python benchmarks/server_load.py --apis responses --stored yes --waves 3 --rate 10 --json out.json

The real `ossia serve` on a socket, whose engine process plays numbers instead of running a model;
the client runs here, on the same cores. The engine begins once all requests are there. Every token of
every stream is checked. A token is as late as the client's `recv` that brought it is behind the end
of the engine's step that made it. `seconds` is the whole wave, from the first connection on; tokens a
second are counted from the first token made to the last one received.

Without `--rate` the engine is as fast as it can be, so that tokens wait in the server: that run is for
the throughput. With it, each stream gets so many tokens a second: that run is for the time a token
takes. CPU microseconds a token are those of the server, the engine's process and the client.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support import census
from support.many_streams import Told, read_all, request, understood
from support.scripted_serve import command
from support.serve_process import ServerProcess, started
from support.timed_worker import TimedScript, times_file, times_of

_SETTLE = 1.5  # seconds in which a server puts away what has ended


@dataclass(frozen=True, kw_only=True)
class Wave:
    """What one wave of streams came to; times in milliseconds, memory in MB, CPU in us a token."""

    api: str
    stored: bool
    streams: int
    tokens: int
    rate: float
    seconds: float
    tokens_per_second: float
    late_median: float
    late_p99: float
    late_max: float
    first_p99: float
    server_cpu: float
    engine_cpu: float
    client_cpu: float
    events: int
    resident_before: float
    resident_after: float
    resident_trimmed: float
    descriptors: tuple[int, int]
    threads: tuple[int, int]
    tasks: tuple[int, int]
    load: float


class Bench:
    """A server under load.

    Args:
        folder: For its files.
        given: The command line.
    """

    def __init__(self, folder: Path, given: argparse.Namespace) -> None:
        from ossia.tokenizer import Tokenizer

        tokenizer = Tokenizer.o200k_harmony()
        self._given = given
        self._folder = folder
        self._times = folder / "times"
        times_file(self._times, given.tokens)
        numbers = [tokenizer.encode(f"{number:03}") for number in range(1000)]
        assert all(len(ids) == 1 for ids in numbers)
        self._script = TimedScript(
            times=str(self._times),
            opening=tokenizer.encode_with_special("<|channel|>final<|message|>"),
            numbers=[ids[0] for ids in numbers],
            closing=tokenizer.encode_with_special("<|return|>")[0],
            tokens=given.tokens,
            gathers=given.streams,
            rate=given.rate,
        )

    @contextmanager
    def server(self) -> Iterator[ServerProcess]:
        """The server, for one kind of streams."""
        socket = self._folder / "census"
        socket.unlink(missing_ok=True)
        state = Path(tempfile.mkdtemp(dir=self._folder))
        arguments = ["--state-folder", str(state), "--max-queue", "100000"]
        environ = {census.VARIABLE: str(socket)}
        engine = self._script.command()
        with started(command(engine, *arguments), self._folder / "log", environ) as server:
            time.sleep(_SETTLE)
            yield server
            server.end()

    def wave(self, server: ServerProcess, api: str, *, stored: bool) -> Wave:
        """All streams at once, to their end."""
        given, pids = self._given, _family(server.process.pid)
        sent = [request(api, stored=stored) for _ in range(given.streams)]
        before = self._census()
        gc.collect()
        gc.disable()
        used, own = [_cpu_seconds(pid) for pid in pids], time.process_time()
        begun = time.monotonic()
        recordings = read_all(server.address, sent)
        seconds = time.monotonic() - begun
        own = time.process_time() - own
        used = [_cpu_seconds(pid) - start for pid, start in zip(pids, used, strict=True)]
        gc.enable()
        load = os.getloadavg()[0]
        time.sleep(_SETTLE)
        after, trimmed = self._census(), self._census(trim=True)
        told = [understood(api, one) for one in recordings]
        late, first, talking = self._lateness(told)
        total = given.streams * given.tokens
        micro = 1e6 / total
        return Wave(
            api=api,
            stored=stored,
            streams=given.streams,
            tokens=given.tokens,
            rate=given.rate,
            seconds=seconds,
            tokens_per_second=total / talking,
            late_median=statistics.median(late),
            late_p99=_quantile(late, 0.99),
            late_max=late[-1],
            first_p99=_quantile(first, 0.99),
            server_cpu=used[0] * micro,
            engine_cpu=used[1] * micro,
            client_cpu=own * micro,
            events=sum(len(one.lengths) for one in told),
            resident_before=before["resident"] / 1e6,
            resident_after=after["resident"] / 1e6,
            resident_trimmed=trimmed["resident"] / 1e6,
            descriptors=(before["descriptors"], after["descriptors"]),
            threads=(before["threads"], after["threads"]),
            tasks=(before["tasks"], after["tasks"]),
            load=load,
        )

    def _census(self, *, trim: bool = False) -> dict[str, Any]:
        return census.ask(self._folder / "census", trim=trim)

    def _lateness(self, streams: list[Told]) -> tuple[list[float], list[float], float]:
        """Milliseconds of every token, and of the first of each stream, sorted; all are checked.

        And the seconds from the first token's making to the last one's arrival.
        """
        keys = [int(told.text[:6]) for told in streams]
        assert len(set(keys)) == len(keys), "two streams have the same text"
        made = times_of(self._times, self._given.tokens, keys)
        late: list[float] = []
        first: list[float] = []
        for key, told in zip(keys, streams, strict=True):
            assert told.text == self._script.text(key), "tokens were lost or out of order"
            assert told.ending in ("stop", "completed"), told.ending
            place, start = 0, len(late)
            for moment, length in told.lengths:
                late += [(moment - made[key][each]) * 1e3 for each in range(place, length // 3)]
                place = length // 3
            first.append(late[start])
        begun = min(moments[0] for moments in made.values())
        ended = max(told.lengths[-1][0] for told in streams)
        return sorted(late), sorted(first), ended - begun


def _family(pid: int) -> list[int]:
    """A process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _cpu_seconds(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


_HEAD = (
    "api        stored  seconds  tokens/s   late ms median    p99    max  first p99   CPU us server engine"
    " client  events/token   MB before after trimmed   fds       tasks    load"
)


def _line(wave: Wave) -> str:
    return (
        f"{wave.api:10} {'yes' if wave.stored else 'no':6} {wave.seconds:8.1f} {wave.tokens_per_second:9,.0f}"
        f"   {wave.late_median:14,.0f} {wave.late_p99:6,.0f} {wave.late_max:6,.0f}"
        f" {wave.first_p99:10,.0f}   {wave.server_cpu:13.1f} {wave.engine_cpu:6.1f}"
        f" {wave.client_cpu:6.1f} {wave.events / wave.streams / wave.tokens:13.2f}"
        f" {wave.resident_before:11.1f} {wave.resident_after:5.1f} {wave.resident_trimmed:7.1f}"
        f"   {wave.descriptors[0]}-{wave.descriptors[1]}   {wave.tasks[0]}-{wave.tasks[1]}"
        f"   {wave.load:.1f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=1000, help="open at once [1000]")
    parser.add_argument("--tokens", type=int, default=200, help="of each stream, to 999 [200]")
    parser.add_argument("--rate", type=float, default=0.0, help="tokens/s of a stream [no limit]")
    parser.add_argument("--waves", type=int, default=2, help="one after the other [2]")
    parser.add_argument("--apis", nargs="+", default=["chat", "responses"])
    parser.add_argument("--stored", nargs="+", default=["no", "yes"])
    parser.add_argument("--json", type=Path, help="write all figures here, too")
    given = parser.parse_args()
    print(f"{given.streams} streams of {given.tokens} tokens, {os.cpu_count()} cores")
    print(_HEAD)
    waves: list[Wave] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), given)
        for api in given.apis:
            for stored in given.stored:
                with bench.server() as server:
                    for _ in range(given.waves):
                        waves.append(bench.wave(server, api, stored=stored == "yes"))
                        print(_line(waves[-1]), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(wave) for wave in waves], indent=1))


if __name__ == "__main__":
    main()
