"""Weights in large pages, and pages of files that are given back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ossia.checkpoint.safetensors_file import SafetensorsFile
from ossia.kernels.cpu import in_large_pages, page_out, pages
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
