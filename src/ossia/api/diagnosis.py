"""Diagnosis: what this machine has, and which kernels run on it."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import torch

from ossia.env import cpu_isa, cpu_pin
from ossia.kernels.backend import Choice, choose_all, within
from ossia.kernels.cpu import KernelLibrary, allowed_cpus, load, num_threads, why_not
from ossia.kernels.cuda.capability import nvidia_capability
from ossia.machine import Memory, machine_memory

_PACKAGES = ("torch", "triton", "numpy", "safetensors", "tokenizers", "huggingface_hub")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What a machine has, and what Ossia makes of it.

    Args:
        system: Operating system, processor and Python in words, by what they are.
        versions: Version of each package that matters; None where it is missing.
        cuda: CUDA version that torch was built for; None for a torch without it.
        rocm: ROCm version that it was built for, likewise.
        memories: RAM, then every GPU.
        capabilities: Compute capability of each of NVIDIA's GPUs by its device name.
        choices: For each device, which implementation of each operation runs there.
    """

    system: dict[str, str]
    versions: dict[str, str | None]
    cuda: str | None
    rocm: str | None
    memories: tuple[Memory, ...]
    capabilities: dict[str, str]
    choices: dict[str, list[Choice]]


def diagnose() -> Diagnosis:
    """Look at this machine."""
    devices = [f"cuda:{idx}" for idx in range(torch.cuda.device_count())]
    return Diagnosis(
        system={
            "python": platform.python_version(),
            "system": platform.platform(terse=True),
            "processor": processor_name(),
            "cores": str(os.cpu_count()),
            "threads": str(torch.get_num_threads()),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "cpu kernels": _cpu_kernels(),
        },
        versions={name: _version(name) for name in _PACKAGES},
        cuda=torch.version.cuda,
        rocm=torch.version.hip,
        memories=machine_memory(),
        capabilities={
            device: "{}.{}".format(*capability)
            for device in devices
            if (capability := nvidia_capability(torch.device(device)))
        },
        choices={device: choose_all(torch.device(device)) for device in ["cpu", *devices]},
    )


def diagnosis_to_dict(diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis as JSON values."""
    return {
        "system": diagnosis.system,
        "versions": diagnosis.versions,
        "cuda": diagnosis.cuda,
        "rocm": diagnosis.rocm,
        "memories": [asdict(memory) for memory in diagnosis.memories],
        "capabilities": diagnosis.capabilities,
        "kernels": {
            device: {
                choice.operation: {
                    "chosen": choice.chosen.name,
                    "passed_over": {better.name: reason for better, reason in choice.passed_over},
                    "within": within(choice.operation, choices),
                }
                for choice in choices
            }
            for device, choices in diagnosis.choices.items()
        },
    }


def _cpu_kernels() -> str:
    """Which instruction set they use, on how many threads, and why."""
    kernels = load()
    if kernels is None:
        return f"none: {why_not()}"
    obstacles, drawbacks = kernels.obstacles(), kernels.drawbacks()
    runs = [name for name, obstacle in obstacles.items() if obstacle is None]
    why = "chosen by OSSIA_CPU_ISA" if cpu_isa() else "the best one"
    against = {name: obstacle or drawbacks[name] for name, obstacle in obstacles.items()}
    names = list(against)
    best = max(names.index(name) for name, words in against.items() if words is None)
    passed_over = "".join(f"; not {name}: {against[name]}" for name in names[best + 1 :])
    return f"{kernels.isa}, {why} of {', '.join(runs)}{passed_over}; threads: {_threads(kernels)}"


def _threads(kernels: KernelLibrary) -> str:
    """How many, and where they run."""
    threads = num_threads()
    if threads == 1:
        return "1"
    if not cpu_pin():
        return f"{threads}, not kept to cores (OSSIA_CPU_PIN=0)"
    kept = kernels.places(allowed_cpus(), threads)
    return f"{threads}, {'kept to cores of their own' if kept else 'not kept to cores'}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor_name() -> str:
    """The processor's name; on Linux `platform` knows only its architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [
                line.partition(":")[2].strip() for line in lines if line.startswith("model name")
            ]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
