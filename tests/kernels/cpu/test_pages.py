"""Weights in large pages, and pages of files that are given back."""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from pathlib import Path

import pytest
import torch

from ossia.checkpoint.safetensors_file import SafetensorsFile
from ossia.kernels.cpu import in_large_pages, page_out, pages, read_ahead
from support import cpu_kernels

safetensors = pytest.importorskip("safetensors.torch")


@pytest.mark.parametrize("count", [0, 1, 1000, 3_000_001])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16])
def test_a_copy_in_large_pages_is_the_same(count, dtype):
    cpu_kernels.needed()
    tensor = torch.randint(0, 200, (count,)).to(dtype)
    copy = in_large_pages(tensor)
    assert torch.equal(copy, tensor)
    assert copy.is_contiguous()
    if count:
        assert copy.data_ptr() != tensor.data_ptr()


def test_without_the_library_a_tensor_stays_where_it_is(monkeypatch):
    monkeypatch.setattr(pages, "load", lambda: None)
    tensor = torch.arange(5)
    assert in_large_pages(tensor) is tensor
    page_out(tensor)
    assert read_ahead(tensor) is None
    assert tensor.tolist() == [0, 1, 2, 3, 4]


def test_what_was_paged_out_is_read_again_and_what_was_written_stays(tmp_path):
    cpu_kernels.needed()
    values = torch.randint(0, 256, (5_000_000,), dtype=torch.uint8)
    safetensors.save_file({"weights": values}, tmp_path / "file.safetensors")
    mapped = SafetensorsFile(tmp_path / "file.safetensors").get("weights")
    assert torch.equal(mapped, values)
    mapped[123_456] += 1
    before = _resident(mapped)
    page_out(mapped)
    if before:  # the system tells
        assert _resident(mapped) < before / 2
    mapped[123_456] -= 1
    assert torch.equal(mapped, values)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="asks Linux to forget a file's pages")
def test_what_is_read_ahead_lies_in_memory(tmp_path):
    cpu_kernels.needed()
    path = tmp_path / "file.safetensors"
    safetensors.save_file({"weights": torch.zeros(5_000_000, dtype=torch.uint8)}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    mapped = SafetensorsFile(path).get("weights")
    thread = read_ahead(mapped)
    assert thread is not None
    thread.join()
    until = time.monotonic() + 60
    while _share_in_memory(mapped) < 0.99:  # pages that were asked for arrive later
        assert time.monotonic() < until
        time.sleep(0.01)


def _share_in_memory(tensor: torch.Tensor) -> float:
    """Of the whole pages that a tensor lies in, those that the system has in memory, mapped or not."""
    size = mmap.PAGESIZE
    first = -(-tensor.data_ptr() // size) * size
    count = (tensor.data_ptr() + tensor.nbytes - first) // size
    present = (ctypes.c_ubyte * count)()
    libc = ctypes.CDLL(None)
    assert libc.mincore(ctypes.c_void_p(first), ctypes.c_size_t(count * size), present) == 0
    return sum(one & 1 for one in present) / count


def _resident(tensor: torch.Tensor) -> int:
    """Kilobytes of the mapping that a tensor lies in; 0 where the system does not tell."""
    smaps = Path("/proc/self/smaps")
    if not smaps.exists():
        return 0
    inside = False
    for line in smaps.read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            start, end = (int(part, 16) for part in words[0].split("-"))
            inside = start <= tensor.data_ptr() < end
        elif inside and words[0] == "Rss:":
            return int(words[1])
    return 0
