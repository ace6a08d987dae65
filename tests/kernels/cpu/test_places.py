"""Where the CPU kernels' threads are kept: cores of their own, by what Linux says of the CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from ossia.kernels.cpu import KernelLibrary, allowed_cpus
from support import cpu_kernels

Places = Callable[..., list[set[int]]]


@pytest.fixture
def kernels() -> KernelLibrary:
    return cpu_kernels.needed()


@pytest.fixture
def places(kernels, tmp_path) -> Places:
    """Of threads, on a machine whose cores are given as their CPUs and what else there is to tell of them."""

    def find(
        threads: int, cores: list[tuple[str, dict[str, int]]], allowed: set[int]
    ) -> list[set[int]]:
        for siblings, files in cores:
            for cpu in siblings.replace("-", ",").split(","):  # of two at most
                folder = tmp_path / f"cpu{cpu}"
                for name, number in files.items():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_text(f"{number}\n")
                (folder / "topology").mkdir(parents=True, exist_ok=True)
                (folder / "topology/thread_siblings_list").write_text(siblings + "\n")
        return kernels.places(allowed, threads, tmp_path)

    return find


FOUR = [("0,4", {}), ("1,5", {}), ("2,6", {}), ("3,7", {})]
"""Cores with two CPUs each, numbered as Linux does on most machines."""
HYBRID = [
    *((f"{2 * core}-{2 * core + 1}", {"cpufreq/cpuinfo_max_freq": 5_500_000 + core}) for core in range(3)),
    *((str(cpu), {"cpufreq/cpuinfo_max_freq": 4_300_000}) for cpu in range(6, 10)),
]  # fmt: skip
"""Three fast cores with two CPUs each, four slow ones."""


def test_a_core_for_each(places):
    assert places(4, FOUR, set(range(8))) == [{0, 4}, {1, 5}, {2, 6}, {3, 7}]


def test_few_threads_share_all_cores_out(places):
    assert places(2, FOUR, set(range(8))) == [{0, 1, 4, 5}, {2, 3, 6, 7}]
    assert places(3, FOUR, set(range(8))) == [{0, 4}, {1, 5}, {2, 3, 6, 7}]


def test_second_cpus_of_cores_come_last(places):
    assert places(6, FOUR, set(range(8))) == [{0}, {1}, {2}, {3}, {4}, {5}]


def test_more_threads_than_cpus_are_kept_nowhere(places):
    assert places(8, FOUR, set(range(8))) == [{cpu} for cpu in range(8)]
    assert places(9, FOUR, set(range(8))) == []


def test_only_where_the_process_may_run(places):
    assert places(2, FOUR, {1, 3, 5}) == [{1, 5}, {3}]
    assert places(3, FOUR, {1, 3, 5}) == [{1}, {3}, {5}]
    assert places(2, FOUR, {2, 6}) == [{2}, {6}]
    assert places(2, FOUR, {6}) == []


@pytest.mark.parametrize(
    ("threads", "expected"),
    [
        (1, [{0, 1, 2, 3, 4, 5}]),
        (3, [{0, 1}, {2, 3}, {4, 5}]),
        (5, [{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}]),
        (7, [{0, 1}, {2, 3}, {4, 5}, {6}, {7}, {8}, {9}]),
        (9, [{0}, {2}, {4}, {6}, {7}, {8}, {9}, {1}, {3}]),
    ],
)
def test_fast_cores_come_first(places, threads, expected):
    assert places(threads, HYBRID, set(range(10))) == expected


def test_what_a_core_can_do_counts_more_than_its_frequency(places):
    cores = [(str(cpu), {"cpu_capacity": 446 if cpu < 2 else 1024, "cpufreq/cpuinfo_max_freq": 2}) for cpu in range(4)]  # fmt: skip
    assert places(2, cores, {0, 1, 2, 3}) == [{2}, {3}]


def test_where_nothing_is_told_each_cpu_is_a_core(kernels, tmp_path):
    assert kernels.places({0, 3, 5}, 2, tmp_path) == [{0}, {3, 5}]


_CODE = """
import os, sys, threading
from pathlib import Path
import torch
import ossia.kernels.mxfp4.interleaved as m
from ossia.kernels.mxfp4 import Mxfp4Tensor

def tasks():
    status = {task.name: (task / "status").read_text() for task in Path("/proc/self/task").iterdir()}
    return {task: text.partition("Cpus_allowed_list:")[2].split()[0] for task, text in status.items()}

packed = Mxfp4Tensor(torch.zeros((8, 64, 5, 16), dtype=torch.uint8), torch.zeros((8, 64, 5), dtype=torch.uint8))
seen = set(tasks())
for threads in map(int, sys.argv[1:]):
    m.num_threads = lambda: threads
    m.interleave(packed, paired=True)
    now = tasks()
    print(now[str(os.getpid())], *sorted(now[task] for task in now.keys() - seen))
started = threading.Thread(target=lambda: print(tasks()[str(threading.get_native_id())]))
started.start()
started.join()
"""


def _allowed_lists(*threads: int, **environ: str) -> list[list[set[int]]]:
    """Where the caller and the workers may run, as Linux has it, after calls with so many threads; then a thread
    that the caller has started since."""
    one_of_torch = {"OMP_NUM_THREADS": "1"}  # others would be counted
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CODE, *map(str, threads)],
        env={**os.environ, **one_of_torch, **environ},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return [[_cpus(part) for part in line.split()] for line in done.stdout.splitlines()]


def _cpus(listed: str) -> set[int]:
    """Those of a list such as "0-3,8"."""
    ranges = [part.partition("-") for part in listed.split(",")]
    return {cpu for first, _, last in ranges for cpu in range(int(first), int(last or first) + 1)}


@pytest.mark.skipif(len(allowed_cpus()) < 2, reason="needs two CPUs, and Linux")
def test_workers_run_where_they_are_kept(kernels):
    allowed = allowed_cpus()
    threads = min(len(allowed), 8)
    (two, all_of_them, started) = _allowed_lists(2, threads)
    assert two == [allowed, kernels.places(allowed, 2)[1]]
    assert all_of_them[0] == allowed, "the caller stays free"
    expected = kernels.places(allowed, threads)[1:]
    assert sorted(map(sorted, all_of_them[1:])) == sorted(map(sorted, expected))
    assert started == [allowed], "and so do its other threads"


@pytest.mark.skipif(not 2 <= len(allowed_cpus()) < 8, reason="needs two to seven CPUs, and Linux")
def test_workers_are_let_go_once_there_are_too_many(kernels):
    allowed = allowed_cpus()
    (some, too_many, _) = _allowed_lists(2, len(allowed) + 1)
    assert some[1] < allowed
    assert too_many == [allowed] * (len(allowed) + 1)


@pytest.mark.skipif(len(allowed_cpus()) < 2, reason="needs two CPUs, and Linux")
def test_the_environment_says_no(kernels):
    allowed = allowed_cpus()
    assert _allowed_lists(2, OSSIA_CPU_PIN="0") == [[allowed, allowed], [allowed]]
