"""What `ossia doctor` says of the CPU kernels: which set runs, why not a better one, where threads are kept."""

from __future__ import annotations

import pytest

from ossia.api import diagnosis

_SLOW = "slow"


class _Kernels:
    """Answers as a KernelLibrary does on some other machine."""

    def __init__(self, isa: str, **against: tuple[str | None, str | None]) -> None:
        self.isa, self._against = isa, against

    def obstacles(self) -> dict[str, str | None]:
        return {name: obstacle for name, (obstacle, _) in self._against.items()}

    def drawbacks(self) -> dict[str, str | None]:
        return {name: drawback for name, (_, drawback) in self._against.items()}

    def places(self, cpus: set[int], threads: int) -> list[set[int]]:
        return [{cpu} for cpu in range(threads)] if threads <= 4 else []


@pytest.fixture
def said(monkeypatch):
    monkeypatch.delenv("OSSIA_CPU_ISA", raising=False)
    monkeypatch.delenv("OSSIA_CPU_PIN", raising=False)

    def of(kernels: _Kernels, threads: int = 1) -> str:
        monkeypatch.setattr(diagnosis, "load", lambda: kernels)
        monkeypatch.setattr(diagnosis, "num_threads", lambda: threads)
        return diagnosis._cpu_kernels()

    return of


def test_all_that_the_processor_has(said):
    kernels = _Kernels("amx", portable=(None, None), avx512_bf16=(None, _SLOW), amx=(None, None))
    assert said(kernels) == "amx, the best one of portable, avx512_bf16, amx; threads: 1"


def test_better_sets_that_do_not_run_or_would_not_be_better(said):
    kernels = _Kernels(
        "avx2", portable=(None, None), avx2=(None, None), avx512_bf16=(None, _SLOW), amx=("no tiles", None)
    )  # fmt: skip
    assert said(kernels) == (
        "avx2, the best one of portable, avx2, avx512_bf16; not avx512_bf16: slow; not amx: no tiles; threads: 1"
    )


def test_a_set_that_was_asked_for(said, monkeypatch):
    monkeypatch.setenv("OSSIA_CPU_ISA", "portable")
    kernels = _Kernels("portable", portable=(None, None), avx2=(None, None))
    assert said(kernels) == "portable, chosen by OSSIA_CPU_ISA of portable, avx2; threads: 1"


def test_where_threads_are_kept(said, monkeypatch):
    kernels = _Kernels("portable", portable=(None, None))
    assert said(kernels, 4).endswith("; threads: 4, kept to cores of their own")
    assert said(kernels, 5).endswith("; threads: 5, not kept to cores")
    monkeypatch.setenv("OSSIA_CPU_PIN", "0")
    assert said(kernels, 4).endswith("; threads: 4, not kept to cores (OSSIA_CPU_PIN=0)")
