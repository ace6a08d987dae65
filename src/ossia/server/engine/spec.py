"""WorkerSpec: which model an engine process serves, and how; its only argument."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from ossia.engine.config import EngineConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """Which model an engine process serves, and how.

    Args:
        model: A folder, a downloaded hub id, `demo`, or `random:20b|120b|tiny`.
        revision: Branch, tag or commit of a hub id.
        dtype: What floating-point weights become, by torch's name; "auto" keeps the checkpoint's.
        device: In torch's words; "auto" is the first GPU, or else the CPU.
        engine: The engine's limits.
    """

    model: str
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    engine: EngineConfig = field(default_factory=EngineConfig)

    def to_json(self) -> str:
        """The argument."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, text: str) -> WorkerSpec:
        """Read the argument."""
        raw: dict[str, Any] = orjson.loads(text)
        engine = EngineConfig(**raw.pop("engine"))
        return cls(**raw, engine=engine)

    def command(self) -> tuple[str, ...]:
        """The command line that starts the engine process."""
        return (sys.executable, "-m", "ossia.server.engine.worker", self.to_json())
