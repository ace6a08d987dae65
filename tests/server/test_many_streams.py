"""Many streams of a real server at once: no token is lost, whichever API and store."""

from __future__ import annotations

from pathlib import Path

import pytest

from ossia.tokenizer import Tokenizer
from support import census
from support.many_streams import read_all, request, understood
from support.scripted_serve import command
from support.serve_process import started
from support.timed_worker import TimedScript, times_file, times_of

_STREAMS, _TOKENS = 120, 40


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    tokenizer = Tokenizer.o200k_harmony()
    times = tmp_path_factory.mktemp("times") / "times"
    times_file(times, _TOKENS)
    return TimedScript(
        times=str(times),
        opening=tokenizer.encode_with_special("<|channel|>final<|message|>"),
        numbers=[tokenizer.encode(f"{number:03}")[0] for number in range(1000)],
        closing=tokenizer.encode_with_special("<|return|>")[0],
        tokens=_TOKENS,
        gathers=_STREAMS,
    )


def test_streams_side_by_side_are_whole_and_leave_nothing_behind(script, tmp_path):
    environ = {census.VARIABLE: str(tmp_path / "census")}
    arguments = ("--state-folder", str(tmp_path / "state"))
    with started(command(script.command(), *arguments), tmp_path / "log", environ) as server:
        before = census.ask(tmp_path / "census")
        kinds = [(api, stored) for api in ("chat", "responses") for stored in (False, True)]
        asked = [kinds[number % len(kinds)] for number in range(_STREAMS)]
        sent = [request(api, stored=stored) for api, stored in asked]
        recordings = read_all(server.address, sent, 60)
        told = [understood(api, one) for (api, _), one in zip(asked, recordings, strict=True)]
        keys = [int(one.text[:6]) for one in told]
        assert len(set(keys)) == _STREAMS
        made = times_of(Path(script.times), _TOKENS, keys)
        for key, one in zip(keys, told, strict=True):
            assert one.text == script.text(key)
            assert one.ending in ("stop", "completed")
            assert one.lengths[0][0] >= made[key][0], "it came before it was made"
        after = census.ask(tmp_path / "census")
        for name in ("descriptors", "threads", "tasks"):
            assert after[name] <= before[name] + 2, name
        server.end()
