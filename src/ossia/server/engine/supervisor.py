"""Supervisor: starts the engine process, starts it again when it fails, and ends it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ossia.errors import OssiaError
from ossia.server.engine.client import EngineClient
from ossia.server.engine.reports import (
    Ready,
    read_failed,
    read_found,
    read_progress,
    read_ready,
)
from ossia.server.engine.watchdog import until_stuck
from ossia.server.engine.wire import Kind, WireError
from ossia.server.engine.worker_process import WorkerProcess
from ossia.server.service import ServiceState

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When a failed engine process is started again.

    Args:
        max_failures: Quick failures in a row after which it is given up.
        quick: Seconds of service that make the failure after them count as a first one.
        first_delay: Seconds before the first restart; doubled for each further one in a row.
        max_delay: Seconds before a restart at most.
        end_timeout: Seconds that the process gets to end when it is told to.
    """

    max_failures: int = 5
    quick: float = 60.0
    first_delay: float = 0.25
    max_delay: float = 30.0
    end_timeout: float = 5.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return min(self.max_delay, self.first_delay * 2 ** (failures - 1))


class Supervisor:
    """Keeps an engine process running. For one event loop.

    Args:
        command: The process's command line.
        policy: When to start it again.
        step_timeout: Seconds after which a step that does not end means that the process hangs.
        on_found: Told the model's name and folder, at every start.
        on_ready: Told what the loaded model can do, at every start.

    Attributes:
        state: LOADING, READY, RESTARTING or FAILED.
        message: Why, for people.
        restarts: How often the process was started again.
        progress: What is being loaded -> (done, total).
        client: The connection; None unless READY.
        pid: Of the process; None while there is none.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        policy: RestartPolicy | None = None,
        step_timeout: float = 600.0,
        on_found: Callable[[str, Path | None], None] = lambda _name, _folder: None,
        on_ready: Callable[[Ready], None] = lambda _ready: None,
    ) -> None:
        self._command = tuple(command)
        self._policy = policy or RestartPolicy()
        self._step_timeout = step_timeout
        self._on_found = on_found
        self._on_ready = on_ready
        self._process: WorkerProcess | None = None
        self._fatal: OssiaError | None = None
        self._ready_since: float | None = None
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.state = ServiceState.LOADING
        self.message = "the model is being loaded"
        self.restarts = 0
        self.progress: dict[str, tuple[int, int]] = {}
        self.client: EngineClient | None = None

    @property
    def pid(self) -> int | None:
        """The engine process's number."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process in the background."""
        assert self._task is None, "started twice"
        self._task = asyncio.create_task(self._run(), name="ossia-supervisor")

    async def close(self) -> None:
        """End the process; open streams end with EngineClosedError. Safe to call twice."""
        self._closing.set()
        if self._process is not None:
            self._process.close()
        if self._task is None:
            return
        done, _ = await asyncio.wait({self._task}, timeout=self._policy.end_timeout)
        if not done and self._process is not None:
            self._process.kill()
        await self._task

    async def _run(self) -> None:
        failures = 0
        while not self._closing.is_set():
            served = await self._live()
            failures = 1 if served >= self._policy.quick else failures + 1
            # What was wrong at the first start is no accident; later it may be, such as memory
            # that a killed process has not given back yet.
            hopeless = self._fatal is not None and not self.restarts and not served
            if self._closing.is_set():
                break
            if hopeless or failures >= self._policy.max_failures:
                self._set(ServiceState.FAILED, self.message)
                _log.error("the engine is given up: %s", self.message)
                return
            await self._wait_to_restart(failures)

    async def _wait_to_restart(self, failures: int) -> None:
        self._set(ServiceState.RESTARTING, self.message)
        delay = self._policy.delay(failures)
        _log.error("%s; it is started again in %.2g s", self.message, delay)
        try:
            await asyncio.wait_for(self._closing.wait(), delay)
        except TimeoutError:
            self.restarts += 1

    async def _live(self) -> float:
        """One life of the process.

        Returns:
            For how many seconds it could serve.
        """
        self._fatal, self._ready_since = None, None
        self.progress = {}
        try:
            self._process = process = await WorkerProcess.start(self._command)
        except OSError as error:
            self.message = f"the engine process cannot be started: {error}"
            return 0.0
        client = EngineClient(process.send)
        problem = ""
        watch = asyncio.create_task(self._watch(process, client))
        try:
            if self._closing.is_set():
                process.close()
            await self._listen(process, client)
        except Exception as error:
            _log.exception("what the engine process says cannot be understood")
            problem = f"the engine process cannot be understood: {error}"
            process.kill()
        except asyncio.CancelledError:
            process.kill()
            raise
        finally:
            self.client = None
            ending = await process.ended()
            problem = problem or await self._verdict(watch)
            self._process = None
            self.message = self._explain(problem or ending)
            client.fail(self.message)
        return 0.0 if self._ready_since is None else time.monotonic() - self._ready_since

    async def _watch(self, process: WorkerProcess, client: EngineClient) -> str:
        """Kill the process if it hangs; says so."""
        await until_stuck(client, self._step_timeout)
        process.kill()
        return f"the engine process hung: no step ended in {self._step_timeout:g} s; it was killed"

    async def _verdict(self, watch: asyncio.Task[str]) -> str:
        """What the watch has said; empty if it had nothing to say."""
        watch.cancel()
        await asyncio.wait({watch})
        return "" if watch.cancelled() else watch.result()

    async def _listen(self, process: WorkerProcess, client: EngineClient) -> None:
        async for frames in process.frames():
            for kind, payload in frames:
                match kind:
                    case Kind.STEP | Kind.ACCEPTED | Kind.REFUSED:
                        client.feed(kind, payload)
                    case Kind.PROGRESS:
                        what, done, total = read_progress(payload)
                        self.progress[what] = (done, total)
                    case Kind.FOUND:
                        self._on_found(*read_found(payload))
                    case Kind.READY:
                        self._become_ready(client, read_ready(payload))
                    case Kind.FAILED:
                        self._fatal = read_failed(payload)
                    case _:
                        raise WireError(f"{kind.name} does not come from an engine")

    def _become_ready(self, client: EngineClient, ready: Ready) -> None:
        self._ready_since = time.monotonic()
        self._on_ready(ready)
        self.client = client
        self.progress = {}
        self._set(ServiceState.READY, "")
        _log.info("the engine process %s serves on %s", self.pid, ready.device)

    def _explain(self, ending: str) -> str:
        if self._closing.is_set():
            return "the server ends"
        return str(self._fatal or ending)

    def _set(self, state: ServiceState, message: str) -> None:
        self.state, self.message = state, message
