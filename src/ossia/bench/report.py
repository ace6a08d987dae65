"""Report: a measurement as one object, with what it was made with."""

from __future__ import annotations

from dataclasses import asdict, dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

from ossia.bench.environment import hardware, software

if TYPE_CHECKING:
    from ossia.bench.ceilings import Ceilings
    from ossia.bench.subject import Subject
    from ossia.engine.config import CpuActivations


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a command found.

    Args:
        command: Such as "ossia bench latency".
        settings: What was asked for, defaults included.
        software: Versions, commit, time.
        device: On which it was measured; None for a server's.
        model: What `Subject.describe` says, or whom a server was asked for.
        measured: Ceilings of the device; None where nothing is compared with them.
    """

    command: str
    settings: dict[str, Any]
    software: dict[str, Any]
    device: dict[str, Any] | None
    model: dict[str, Any]
    measured: dict[str, float] | None = None

    @classmethod
    def on_device(
        cls,
        command: str,
        settings: dict[str, Any],
        subject: Subject,
        ceilings: Ceilings,
        cpu_activations: CpuActivations = "full",
    ) -> Report:
        """Of a model on a device, once its engine is there."""
        return cls(
            command=command,
            settings=settings,
            software=software(),
            device=hardware(str(subject.device)),
            model=subject.describe(cpu_activations),
            measured=asdict(ceilings),
        )

    def to_dict(self, results: object) -> dict[str, Any]:
        """As JSON values, with results: dataclasses, or lists of them."""
        return {
            "command": self.command,
            **self.software,
            "device": self.device,
            "model": self.model,
            "measured": self.measured,
            "settings": self.settings,
            "results": _values(results),
        }


def _values(results: object) -> Any:  # noqa: ANN401
    if is_dataclass(results) and not isinstance(results, type):
        return asdict(results)
    if isinstance(results, list | tuple):
        return [_values(one) for one in results]
    return results
