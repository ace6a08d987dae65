"""The library of CPU kernels, for tests that need it."""

from __future__ import annotations

import shutil

import pytest

from ossia.kernels.cpu import KernelLibrary, load, why_not


def needed() -> KernelLibrary:
    """The library; a machine that can compile it must have it."""
    found = load()
    if found is None:
        if shutil.which("c++") is None:
            pytest.skip("needs a C++ compiler")
        pytest.fail(f"no CPU kernels: {why_not()}")
    return found


def runnable_isas() -> list[str]:
    """Every instruction set that this machine runs, for parametrisation; plainest first."""
    found = load()
    return [] if found is None else [name for name, runs in found.isas().items() if runs]
