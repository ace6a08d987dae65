"""Relaying moves every code and scale to where a tensor core's lane expects it, and back."""

from __future__ import annotations

import pytest
import torch

from ossia.kernels.mxfp4 import Mxfp4Tensor, relay, restore


def _packed(experts: int, rows: int, groups: int) -> Mxfp4Tensor:
    blocks = torch.randint(0, 256, (experts, rows, groups, 16), dtype=torch.uint8)
    return Mxfp4Tensor(blocks, torch.randint(0, 255, (experts, rows, groups), dtype=torch.uint8))


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("shape", [(1, 16, 2), (5, 48, 3), (6, 32, 1), (3, 64, 8)])
def test_there_and_back(shape, paired):
    packed = _packed(*shape)
    relaid = relay(packed, paired=paired)
    for before, after in zip(packed, restore(relaid), strict=True):
        assert torch.equal(before, after)
    for part, whole in zip(relaid.expert(shape[0] - 1), packed, strict=True):
        assert torch.equal(part, whole[-1])


def test_rows_that_fill_no_tile_are_refused():
    with pytest.raises(ValueError, match="24 rows"):
        relay(_packed(1, 24, 2), paired=False)


def _pair(word: int, register: int) -> tuple[int, int]:
    """A register's two codes as the kernels take them out: a bfloat16's sign, two exponent bits, one mantissa bit."""

    def rotated(by: int) -> int:
        return (word << by | word >> 32 - by) & 0xFFFFFFFF

    if register < 3:
        moved = rotated(6 * register) & 0x81C081C0
    else:
        moved = (rotated(2) & 0x80C080C0) | (rotated(10) & 0x01000100)
    low, high = moved & 0xFFFF, moved >> 16
    return low >> 12 & 8 | low >> 6 & 7, high >> 12 & 8 | high >> 6 & 7


@pytest.mark.parametrize("paired", [False, True])
def test_every_code_lies_where_the_instruction_takes_it(paired):
    """Word for word as PTX describes the operand of mma.m16n8k16, with columns dealt out by eights."""
    packed = _packed(2, 48, 4)
    relaid = relay(packed, paired=paired)
    codes = torch.stack((packed.blocks & 15, packed.blocks >> 4), -1).flatten(2)  # (2, 48, 128)
    expert, tile, unit = 1, 2, 1
    words = relaid.blocks[expert, tile, unit].view(torch.int32).view(32, 2, 2)
    scales = relaid.scales[expert, tile, unit].view(8, 2, 2)

    def row(place: int) -> int:
        return tile * 16 + (place % 8 * 2 + place // 8 if paired else place)

    for lane in range(32):
        r, q = divmod(lane, 4)
        for half in range(2):
            for row_half in range(2):
                scale = packed.scales[expert, row(r + 8 * row_half), unit * 2 + half]
                assert scales[r, row_half, half] == scale
            for instruction in range(2):
                word = int(words[lane, half, instruction]) & 0xFFFFFFFF
                for register in range(4):
                    column = unit * 64 + half * 32 + q * 8 + instruction * 4 + register // 2 * 2
                    at = row(r + register % 2 * 8)
                    even, odd = _pair(word, register)
                    assert even == codes[expert, at, column]
                    assert odd == codes[expert, at, column + 1]
