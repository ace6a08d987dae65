"""The engine process: `python -m ossia.server.engine.worker SPEC`.

Its threads: the main one loads the model and steps, one reads the pipe and checks requests, two
make masks, one writes what a full pipe has not taken. `serve` is the whole of it for any core, so
tests give it one that plays scripts.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ossia import env
from ossia.api.model_source import ModelSource, find_model
from ossia.errors import ConfigError, OssiaError
from ossia.garbage import freeze_garbage
from ossia.log import show_log
from ossia.server.engine.intake import Intake
from ossia.server.engine.lifeline import read_orders, take_pipes, tie_to_parent
from ossia.server.engine.loop import Core, run_loop
from ossia.server.engine.outbox import Outbox
from ossia.server.engine.reports import (
    Ready,
    failed_frame,
    found_frame,
    progress_frame,
    ready_frame,
)
from ossia.server.engine.spec import WorkerSpec
from ossia.server.engine.wire import Kind
from ossia.tokenizer import Tokenizer
from ossia.types import Request

if TYPE_CHECKING:
    from ossia.config import ModelConfig
    from ossia.engine.core import EngineCore

_log = logging.getLogger(__name__)
_LAST_WORDS = 5.0  # seconds for what still has to be written
_MIN_PROGRESS_GAP = 0.1  # seconds between two reports of one thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An engine that is ready to serve.

    Args:
        core: The engine.
        check: Raises what it has against a request, on any thread.
        tokenizer: Of its model.
        ready: What it can do.
    """

    core: Core
    check: Callable[[Request], object]
    tokenizer: Callable[[], Tokenizer]
    ready: Ready


def serve(load: Callable[[Outbox], Loaded]) -> int:
    """Load an engine and serve the process at the other end of the standard streams.

    Args:
        load: Makes the engine, and reports how far it is.

    Returns:
        The exit status, once the engine has failed; without a server the process ends by itself.
    """
    source, sink = take_pipes()
    tie_to_parent()
    outbox = Outbox(sink, lost=lambda: os._exit(0))
    intake: list[Intake] = []
    loaded = threading.Event()

    def handle(kind: Kind, payload: bytes) -> None:
        loaded.wait()
        intake[0].handle(kind, payload)

    # The end of the pipe is to be seen while the model loads, too.
    threading.Thread(target=_read, args=(source, handle), name="ossia-orders", daemon=True).start()
    try:
        engine = load(outbox)
    except OssiaError as error:
        outbox.send(failed_frame(error))
        outbox.wait_empty(_LAST_WORDS)
        return error.exit_code
    intake.append(Intake(engine.check, outbox, engine.tokenizer))
    loaded.set()
    outbox.send(ready_frame(engine.ready))
    try:
        run_loop(engine.core, intake[0], outbox)
    except Exception:
        _log.exception("the engine's loop failed; the engine ends")
    outbox.wait_empty(_LAST_WORDS)
    return 1


def _read(source: int, handle: Callable[[Kind, bytes], None]) -> None:
    try:
        read_orders(source, handle)
    except Exception:
        _log.exception("the server's orders cannot be read; the engine ends")
        os._exit(1)


def load_model(spec: WorkerSpec, outbox: Outbox) -> Loaded:
    """Load the model that a spec names, reporting where it is and how far its loading is."""
    progress = _progress(outbox)
    source = find_model(spec.model, revision=spec.revision, progress=progress)
    outbox.send(found_frame(source.name, source.folder))
    # Beside the weights. Whatever is wrong with it is known before requests are taken.
    tokenizer = ThreadPoolExecutor(1).submit(source.tokenizer)
    core, device = _make_core(spec, source, progress)
    core.warm_up()
    tokenizer.result()
    freeze_garbage()
    ready = Ready(
        max_context=core.admission.max_context,
        vocab_size=core.admission.vocab_size,
        max_running=core.limits.max_sequences,
        device=device,
    )
    return Loaded(
        core=core,
        check=core.admission.output_limit,
        tokenizer=tokenizer.result,
        ready=ready,
    )


def _make_core(
    spec: WorkerSpec, source: ModelSource, progress: Callable[[str, int, int], None]
) -> tuple[EngineCore, str]:
    # torch takes seconds to import: the server can read the tokenizer meanwhile.
    from ossia.api.loading import load_module
    from ossia.api.runtime import core_for
    from ossia.api.threads import use_fitting_threads
    from ossia.model.heads import CausalLM

    def build(config: ModelConfig) -> CausalLM:
        _check_context(spec.engine.max_context, config.max_position_embeddings)
        return CausalLM(config)

    network = load_module(build, source, dtype=spec.dtype, device=spec.device, progress=progress)
    if not env.threads_chosen():
        use_fitting_threads(network)
    return core_for(network, spec.engine), str(next(network.parameters()).device)


def _check_context(asked: int | None, most: int) -> None:
    """The engine takes what it can; who starts a server is not to be promised more than that."""
    if asked is not None and asked > most:
        raise ConfigError(f"max_context is {asked:,}, but the model's context is {most:,} tokens")


def _progress(outbox: Outbox) -> Callable[[str, int, int], None]:
    """Reports the first, the last, and now and then one in between."""
    sent: dict[str, float] = {}

    def report(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or now - sent.get(what, 0.0) >= _MIN_PROGRESS_GAP:
            sent[what] = now
            outbox.send(progress_frame(what, done, total))

    return report


def main(arguments: list[str]) -> int:
    """Serve the model of the spec that is the only argument."""
    show_log(env.log_level() or "warning")
    spec = WorkerSpec.from_json(arguments[0])
    return serve(lambda outbox: load_model(spec, outbox))


if __name__ == "__main__":
    # Not sys.exit, which would wait for masks that are still being made.
    os._exit(main(sys.argv[1:]))
