"""`python -m ossia.bench.load_process ORDER`: load a model, make a token, say when and with what memory.

The order and the answer are objects of JSON; `ossia.bench.load` writes the one and reads the other.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

from ossia.errors import OssiaError
from ossia.garbage import collector_paused


def main() -> int:
    """Print one line of JSON."""
    try:
        told: dict[str, Any] = _measure(json.loads(sys.argv[1]))
    except OssiaError as error:
        told = {"error": str(error)}
    sys.stdout.write(json.dumps(told) + "\n")
    return int("error" in told)


def _measure(order: dict[str, Any]) -> dict[str, Any]:
    with collector_paused():
        from ossia.api.runtime import ONE_AT_A_TIME, core_for
        from ossia.bench.memory import peak_device_bytes, peak_resident_bytes
        from ossia.bench.playing import play, random_prompt
        from ossia.bench.subject import load_subject
        from ossia.engine.config import EngineConfig
    imported = time.monotonic()
    length, serving = order.pop("prompt"), order.pop("serving")
    subject = load_subject(order.pop("model"), **order)
    loaded = time.monotonic()
    core = core_for(subject.network, EngineConfig() if serving else ONE_AT_A_TIME)
    if serving:
        core.warm_up()
    ready = time.monotonic()
    prompt = random_prompt(
        random.Random(0), min(199_998, subject.network.config.vocab_size), length
    )
    (timing,) = play(core, [prompt], 1, clock=time.monotonic)
    return {
        "imported": imported,
        "loaded": loaded,
        "ready": ready,
        "first_token": timing.pieces[0],
        "weight_bytes": subject.nbytes,
        "peak_resident_bytes": peak_resident_bytes(),
        "peak_device_bytes": peak_device_bytes(subject.device),
    }


if __name__ == "__main__":
    raise SystemExit(main())
