"""Interleaving packed experts: what lies where, and back again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ossia.kernels.mxfp4 import Mxfp4Tensor, deinterleave, interleave
from ossia.kernels.mxfp4.interleaved import interleave_by_torch
from support import cpu_kernels


def _packed(experts: int, rows: int, groups: int) -> Mxfp4Tensor:
    shape = (experts, rows, groups)
    return Mxfp4Tensor(
        torch.randint(0, 256, (*shape, 16), dtype=torch.uint8),
        torch.randint(0, 256, shape, dtype=torch.uint8),
    )


@pytest.mark.parametrize("paired", [False, True])
def test_each_code_and_scale_lies_where_the_kernels_look(paired):
    packed = _packed(experts=2, rows=64, groups=3)
    tiles = interleave_by_torch(packed, paired=paired)
    assert tiles.blocks.shape == (2, 4, 3, 256)
    assert tiles.scales.shape == (2, 4, 3, 16)
    for expert, row, group, column in [(0, 0, 0, 0), (1, 33, 2, 31), (0, 62, 1, 12), (1, 17, 0, 5)]:
        within = row % 32 // 2 if paired else row % 16
        tile = row // 32 * 2 + row % 2 if paired else row // 16
        word, place = divmod(column, 8)
        byte = int(tiles.blocks[expert, tile, group, (word * 16 + within) * 4 + place % 4])
        code = byte >> 4 if place >= 4 else byte & 15
        given_byte = int(packed.blocks[expert, row, group, column // 2])
        assert code == (given_byte >> 4 if column % 2 else given_byte & 15)
        assert tiles.scales[expert, tile, group, within] == packed.scales[expert, row, group]


@given(
    experts=st.integers(1, 3), tiles=st.integers(1, 4), groups=st.integers(1, 7),
    paired=st.booleans(), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_there_and_back(experts, tiles, groups, paired, seed):
    torch.manual_seed(seed)
    packed = _packed(experts, tiles * (32 if paired else 16), groups)
    by_torch = interleave_by_torch(packed, paired=paired)
    for part, restored in zip(packed, deinterleave(by_torch), strict=True):
        assert torch.equal(part, restored)
    last = by_torch.expert(experts - 1)
    assert torch.equal(last.blocks, packed.blocks[-1])
    assert torch.equal(last.scales, packed.scales[-1])
    cpu_kernels.needed()
    in_cpp = interleave(packed, paired=paired)
    assert torch.equal(in_cpp.blocks, by_torch.blocks)
    assert torch.equal(in_cpp.scales, by_torch.scales)
