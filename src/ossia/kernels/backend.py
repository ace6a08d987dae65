"""Which implementation of each operation runs on a device, and why no better one does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from ossia.kernels.cpu import why_not as why_no_library
from ossia.kernels.cuda.capability import nvidia_capability
from ossia.kernels.cuda.program import why_not as why_no_cuda


@dataclass(frozen=True, slots=True, kw_only=True)
class Implementation:
    """One way to compute an operation.

    Args:
        name: Short and unique within the operation.
        what: What it is made of.
        requires: Why it cannot run on a device; None where it can.
        includes: Other operations that its kernels do as well.
    """

    name: str
    what: str
    requires: Callable[[torch.device], str | None]
    includes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What runs, and what was passed over.

    Args:
        operation: Name of a folder of ossia.kernels.
        chosen: The best implementation that the device can run.
        passed_over: Better ones with the reason against each.
    """

    operation: str
    chosen: Implementation
    passed_over: tuple[tuple[Implementation, str], ...]


def _nothing(device: torch.device) -> str | None:
    del device  # plain torch runs wherever torch does
    return None


def _triton(device: torch.device) -> str | None:
    if device.type != "cuda":
        return "needs a CUDA device"
    if find_spec("triton") is None:
        return "needs the package triton"
    capability = nvidia_capability(device)
    if capability is None or capability >= (8, 0):  # Triton is there for AMD's GPUs, too
        return None
    return "needs compute capability 8.0 or newer"


def _triton_fp8(device: torch.device) -> str | None:
    if (reason := _triton(device)) is not None:
        return reason
    # Its source holds instructions of NVIDIA's.
    return None if nvidia_capability(device) is not None else "needs a GPU of NVIDIA's"


def _cuda_decode(device: torch.device) -> str | None:
    if (reason := why_no_cuda(device)) is not None:
        return reason
    if (nvidia_capability(device) or (0, 0)) >= (9, 0):
        return None
    return "needs compute capability 9.0 or newer, and was tried on 9.0 only"


def _cuda_fp8(device: torch.device) -> str | None:
    return why_no_cuda(device) or _triton_fp8(device)


def _cpu(device: torch.device) -> str | None:
    return why_no_library() if device.type == "cpu" else "needs a CPU"


_OF_A_STEP = frozenset(
    {"attention", "dense", "kv_write", "moe", "mxfp4", "norm", "rope", "routing", "sampling"}
)

_REFERENCE = Implementation(name="reference", what="torch operations", requires=_nothing)

_TRITON_MOE = Implementation(
    name="triton",
    what="Triton, packed bfloat16 models, up to 16 tokens a step",
    requires=_triton,
    includes=frozenset({"mxfp4"}),
)

_CUDA_MOE = Implementation(
    name="cuda",
    what="CUDA C++ and Triton, packed bfloat16 models, any number of tokens",
    requires=_cuda_decode,
    includes=frozenset({"mxfp4", "routing"}),
)

_CPU_MOE = Implementation(
    name="cpu",
    what="C++, packed bfloat16 and float32 models, without gradients",
    requires=_cpu,
    includes=frozenset({"mxfp4"}),
)

_CPU_DENSE = Implementation(
    name="cpu",
    what="C++, bfloat16 up to 8 tokens a step, 8-bit weights any number, without gradients",
    requires=_cpu,
)

_CPU_DECODE = Implementation(
    name="cpu",
    what="C++, all layers as one call, packed bfloat16 models, up to 64 tokens, in 8 bits any number",
    requires=_cpu,
    includes=_OF_A_STEP,
)

_CPU_INT8 = Implementation(name="cpu", what="C++, rounds bfloat16 matrices", requires=_cpu)

_CPU_KV_WRITE = Implementation(
    name="cpu",
    what="C++, bfloat16 and float32, without gradients",
    requires=_cpu,
    includes=frozenset({"rope"}),
)

_CPU_NORM = Implementation(name="cpu", what="C++, bfloat16, without gradients", requires=_cpu)

_CPU_SAMPLING = Implementation(name="cpu", what="C++, float32 logits", requires=_cpu)

_CUDA_SAMPLING = Implementation(
    name="cuda", what="CUDA C++, float32 logits, but for log-probabilities", requires=why_no_cuda
)

_CPU_ATTENTION = Implementation(
    name="cpu",
    what="C++ over pages, bfloat16 and float32, without gradients",
    requires=_cpu,
)

_TRITON_ATTENTION = Implementation(
    name="triton", what="Triton over pages, half-precision models", requires=_triton
)

_TRITON_KV_WRITE = Implementation(
    name="triton",
    what="Triton, without gradients",
    requires=_triton,
    includes=frozenset({"rope"}),
)

_TRITON_NORM = Implementation(name="triton", what="Triton, without gradients", requires=_triton)

_CUDA_DECODE = Implementation(
    name="cuda",
    what="CUDA C++ as one graph, packed bfloat16 models, up to 512 sequences a step",
    requires=_cuda_decode,
    includes=_OF_A_STEP,
)

_CUDA_FP8 = Implementation(
    name="cuda",
    what="CUDA C++ for up to 4 tokens, else Triton, bfloat16 models, without gradients",
    requires=_cuda_fp8,
)

_TRITON_FP8 = Implementation(
    name="triton", what="Triton, bfloat16 models, without gradients", requires=_triton_fp8
)

IMPLEMENTATIONS: Mapping[str, tuple[Implementation, ...]] = {
    "attention": (_TRITON_ATTENTION, _CPU_ATTENTION, _REFERENCE),
    "dense": (_CPU_DENSE, _REFERENCE),
    "decode": (_CUDA_DECODE, _CPU_DECODE, _REFERENCE),
    "fp8": (_CUDA_FP8, _TRITON_FP8, _REFERENCE),
    "int8": (_CPU_INT8, _REFERENCE),
    "kv_write": (_TRITON_KV_WRITE, _CPU_KV_WRITE, _REFERENCE),
    "moe": (_CUDA_MOE, _TRITON_MOE, _CPU_MOE, _REFERENCE),
    "mxfp4": (_REFERENCE,),
    "norm": (_TRITON_NORM, _CPU_NORM, _REFERENCE),
    "rope": (_REFERENCE,),
    "routing": (_REFERENCE,),
    "sampling": (_CUDA_SAMPLING, _CPU_SAMPLING, _REFERENCE),
}
"""Every operation's implementations, the best one first; the last runs everywhere."""


def choose(operation: str, device: torch.device) -> Choice:
    """The implementation that runs on a device.

    Raises:
        KeyError: no such operation.
    """
    passed_over: list[tuple[Implementation, str]] = []
    for implementation in IMPLEMENTATIONS[operation]:
        reason = implementation.requires(device)
        if reason is None:
            return Choice(
                operation=operation, chosen=implementation, passed_over=tuple(passed_over)
            )
        passed_over.append((implementation, reason))
    raise AssertionError(f"{operation} has no implementation that runs everywhere")


def choose_all(device: torch.device) -> list[Choice]:
    """Every operation's choice, by name."""
    return [choose(operation, device) for operation in sorted(IMPLEMENTATIONS)]


def within(operation: str, choices: Sequence[Choice]) -> dict[str, str]:
    """Which other operations' kernels do an operation's work as well, in another way than it does by itself.

    Args:
        operation: One of those that were chosen for.
        choices: Of one device.

    Returns:
        By operation the name of its implementation.
    """
    own = next(choice.chosen.name for choice in choices if choice.operation == operation)
    return {
        choice.operation: choice.chosen.name
        for choice in choices
        if operation in choice.chosen.includes and choice.chosen.name != own
    }
