"""`ossia doctor`: what this machine has, and which kernels run on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ossia.cli.options import JsonOption
from ossia.cli.output import Output
from ossia.cli.units import bytes_in_words

if TYPE_CHECKING:
    from ossia.api.diagnosis import Diagnosis
    from ossia.kernels.backend import Choice


EXAMPLES = (
    "ossia doctor",
    "ossia doctor --json",
)


def doctor(as_json: JsonOption = False) -> None:
    """Show hardware, versions, and which kernels run and why."""
    from ossia.api.diagnosis import diagnose, diagnosis_to_dict

    output, diagnosis = Output(), diagnose()
    if as_json:
        output.json(diagnosis_to_dict(diagnosis))
        return
    output.heading("machine")
    output.table(list(diagnosis.system.items()))
    output.heading("\nmemory")
    output.table(_memory_rows(diagnosis), ("name", "device", "total", "free", ""))
    output.heading("\nversions")
    output.table([(name, version or "-") for name, version in diagnosis.versions.items()])
    output.line(_cuda(diagnosis))
    for device, choices in diagnosis.choices.items():
        output.heading(f"\nkernels on {device}")
        output.table(_choice_rows(choices))


def _memory_rows(diagnosis: Diagnosis) -> list[tuple[str, ...]]:
    return [
        (
            memory.name,
            memory.device,
            bytes_in_words(memory.total_bytes),
            bytes_in_words(memory.free_bytes),
            f"compute capability {capability}"
            if (capability := diagnosis.capabilities.get(memory.device))
            else "",
        )
        for memory in diagnosis.memories
    ]


def _cuda(diagnosis: Diagnosis) -> str:
    if diagnosis.rocm is not None and len(diagnosis.memories) == 1:
        return f"ROCm {diagnosis.rocm}: no GPU found"
    if diagnosis.rocm is not None:
        return f"ROCm {diagnosis.rocm}: GPUs are used, by Triton and torch, which was never tried"
    if diagnosis.cuda is None:
        return "CUDA: this torch was built without it, so --device auto is the CPU"
    if not diagnosis.capabilities:
        return f"CUDA {diagnosis.cuda}: no GPU found; is the driver installed (nvidia-smi)?"
    return f"CUDA {diagnosis.cuda}"


def _choice_rows(choices: list[Choice]) -> list[tuple[str, str, str]]:
    from ossia.kernels.backend import within

    rows: list[tuple[str, str, str]] = []
    for choice in choices:
        places = within(choice.operation, choices)
        why = [f"not {better.name}: {reason}" for better, reason in choice.passed_over]
        why = why or ["no faster one in this version"]
        if places:
            inside = ", ".join(f"{name} within {place}" for place, name in places.items())
            why = [inside, f"else {why[0]}", *why[1:]]
        rows.append(
            (choice.operation, f"{choice.chosen.name} ({choice.chosen.what})", "; ".join(why))
        )
    return rows
