"""The engine on a thread of the server, or in a process of its own: what each costs.

    python benchmarks/engine_process.py wire    # tokens over the pipe, without a model
    python benchmarks/engine_process.py demo    # thread against process, with the demo model
    python benchmarks/engine_process.py busy    # the same beside other work of the server

`demo` has the server's process do what a server does for each token: parse harmony and write the
event as JSON; `busy` has it read and write other JSON beside that, half of the time. Beside throughput it shows how late the event loop is, since that is what every
other client of the server would feel, and what the steps of the model take.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson

from ossia.api.conversation import respond_async
from ossia.api.engines import AsyncTokenEngine
from ossia.api.events import TextDelta, TokenDrawn
from ossia.api.opening import opening_messages, user_message
from ossia.api.question import Question
from ossia.engine.config import EngineConfig
from ossia.server.engine.service import EngineService
from ossia.server.engine.spec import WorkerSpec
from ossia.tokenizer import Tokenizer
from ossia.types import Request, SamplingParams

sys.path.append(str(Path(__file__).parents[1] / "tests"))
CONFIG = EngineConfig(max_sequences=64, num_pages=8000)


def cpu_seconds(pid: int) -> float:
    """Of a process so far, its threads included."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


class LoopLag:
    """How late the event loop runs what is due."""

    def __init__(self, every: float = 0.002) -> None:
        self._every = every
        self.late: list[float] = []
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            due = time.perf_counter() + self._every
            await asyncio.sleep(self._every)
            self.late.append(time.perf_counter() - due)

    def end(self) -> str:
        """Stop watching; how late it was."""
        self._task.cancel()
        late = sorted(self.late)
        at = [late[min(len(late) - 1, int(len(late) * part))] * 1e3 for part in (0.5, 0.99)]
        return f"loop late by {at[0]:.2f} ms (median), {at[1]:.2f} ms (99 %)"


@asynccontextmanager
async def service_of(command: tuple[str, ...]) -> AsyncIterator[EngineService]:
    """A service that is ready, closed in the end."""
    service = EngineService("benchmark", command)
    service.start()
    try:
        await service.wait_ready()
        yield service
    finally:
        await service.close()


async def wire(streams: int, tokens: int) -> None:
    """Scripted streams as fast as they come, counted and thrown away."""
    from support.scripted_worker import Script

    script = Script(scripts=[[1]], repeat=tokens, max_running=streams)
    async with service_of(script.command()) as service:
        pid = service.worker_pid
        assert pid is not None

        async def read(name: str) -> int:
            count = 0
            async for _ in await service.generate(Request(request_id=name, prompt_ids=(1,))):
                count += 1
            return count

        begun, own, other = time.perf_counter(), time.process_time(), cpu_seconds(pid)
        total = sum(await asyncio.gather(*(read(str(idx)) for idx in range(streams))))
        wall = time.perf_counter() - begun
        own, other = time.process_time() - own, cpu_seconds(pid) - other
        assert total == streams * tokens
        print(
            f"{streams:5} streams: {total / wall:9,.0f} tokens/s; a token costs the server "
            f"{own / total * 1e6:.2f} us of CPU, the engine's side {other / total * 1e6:.2f} us"
        )


async def answer_all(
    engine: AsyncTokenEngine, tokenizer: Tokenizer, streams: int, tokens: int
) -> tuple[int, list[float]]:
    """Ask so many questions at once, and do with the events what a server does."""
    sampling = SamplingParams(max_tokens=tokens, min_tokens=tokens, seed=1)
    messages = [*opening_messages(), user_message("Tell me a story.")]
    gaps: list[float] = []

    async def ask(number: int) -> int:
        question = Question(messages, sampling=replace(sampling, seed=number))
        last, drawn = 0.0, 0
        async for event in respond_async(engine, tokenizer, question):
            if isinstance(event, TokenDrawn):
                now = time.perf_counter()
                if last:
                    gaps.append(now - last)
                last, drawn = now, drawn + 1
            elif isinstance(event, TextDelta):
                orjson.dumps({"type": "response.output_text.delta", "delta": event.text})
        return drawn

    return sum(await asyncio.gather(*map(ask, range(streams)))), gaps


async def other_work() -> None:
    """What requests of other clients are to the event loop: half of its time goes by in Python."""
    body = orjson.dumps([{"role": "user", "content": "word " * 20} for _ in range(20)])
    while True:
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            json.dumps(json.loads(body))
        await asyncio.sleep(0.002)


async def measure(
    name: str, engine: AsyncTokenEngine, tokenizer: Tokenizer, given: argparse.Namespace
) -> None:
    """Print what an engine does under the load that is asked for."""
    streams, tokens = given.streams, given.tokens
    await answer_all(engine, tokenizer, 2, 4)  # whatever is made once
    beside = asyncio.create_task(other_work()) if given.what == "busy" else None
    lag, begun, own = LoopLag(), time.perf_counter(), time.process_time()
    total, gaps = await answer_all(engine, tokenizer, streams, tokens)
    wall, own = time.perf_counter() - begun, time.process_time() - own
    if beside is not None:
        beside.cancel()
    print(
        f"{name:8} {streams:3} streams: {total / wall:7.1f} tokens/s, between tokens "
        f"{statistics.median(gaps) * 1e3:6.1f} ms; {lag.end()}; "
        f"{own / total * 1e6:,.0f} us of the server's CPU a token"
    )


async def on_a_thread(given: argparse.Namespace) -> None:
    """The engine on a thread of this process."""
    from ossia.api.loading import load_module
    from ossia.api.model_source import find_model
    from ossia.api.runtime import core_for
    from ossia.api.threads import use_fitting_threads
    from ossia.engine.async_engine import AsyncEngine
    from ossia.model.heads import CausalLM

    source = find_model("demo")
    network = load_module(CausalLM, source)
    use_fitting_threads(network)
    async with AsyncEngine(core_for(network, CONFIG)) as engine:
        await measure("thread", engine, source.tokenizer(), given)


async def in_a_process(given: argparse.Namespace) -> None:
    """The engine in a process of its own."""
    async with service_of(WorkerSpec(model="demo", engine=CONFIG).command()) as service:
        await measure("process", service, service.tokenizer, given)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["wire", "demo", "busy"])
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    given = parser.parse_args()
    if given.what == "wire":
        asyncio.run(wire(given.streams, given.tokens))
    else:
        asyncio.run(on_a_thread(given))
        asyncio.run(in_a_process(given))


if __name__ == "__main__":
    main()
