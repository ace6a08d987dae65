import pytest
import torch

from ossia.machine import _ram, machine_memory

MEMINFO = "MemTotal:       24684084 kB\nMemFree:  1 kB\nMemAvailable:   20000000 kB\nHugePages_Total:   0\n"


def test_this_machine():
    ram, *gpus = machine_memory()
    assert (ram.name, ram.device) == ("RAM", "cpu")
    assert 0 < ram.free_bytes <= ram.total_bytes
    assert len(gpus) == torch.cuda.device_count()


@pytest.mark.parametrize(
    ("limit", "total", "free"),
    [
        (None, 24_684_084 * 1024, 20_000_000 * 1024),
        ("max\n", 24_684_084 * 1024, 20_000_000 * 1024),
        ("4294967296\n", 4_294_967_296, 4_294_967_296),
        (str(1 << 60), 24_684_084 * 1024, 20_000_000 * 1024),
    ],
)
def test_a_container_has_its_share(tmp_path, limit, total, free):
    (tmp_path / "meminfo").write_text(MEMINFO)
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
    ram = _ram(tmp_path / "meminfo", tmp_path / "memory.max")
    assert (ram.total_bytes, ram.free_bytes) == (total, free)


def test_without_proc(tmp_path):
    ram = _ram(tmp_path / "no", tmp_path / "no")
    assert 0 < ram.free_bytes == ram.total_bytes


@pytest.mark.gpu
def test_gpus_have_names():
    assert all(gpu.name and gpu.device.startswith("cuda:") for gpu in machine_memory()[1:])
