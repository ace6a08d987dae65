"""MXFP4 packing against the format's definition, written out byte by byte."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.kernels.mxfp4 import pack, unpack

MAGNITUDES = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
fuzz = settings(max_examples=60, deadline=None)


def _random_bytes(groups: int, seed: int, low_scale: int = 0, high_scale: int = 252):
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 256, (3, groups, 16), dtype=torch.uint8, generator=generator)
    scales = torch.randint(
        low_scale, high_scale + 1, (3, groups), dtype=torch.uint8, generator=generator
    )
    return blocks, scales


def _defined(code: int, scale: int) -> float:
    return math.copysign(MAGNITUDES[code & 7], -1.0 if code & 8 else 1.0) * 2.0 ** (scale - 127)


@fuzz
@given(st.integers(1, 5), st.integers(0, 2**31))
def test_unpack_follows_the_format(groups, seed):
    blocks, scales = _random_bytes(groups, seed)
    values = unpack(blocks, scales, torch.float64)
    for row in range(3):
        for element in range(groups * 32):
            group, place = divmod(element, 32)
            byte = int(blocks[row, group, place // 2])
            code = byte >> 4 if place % 2 else byte & 15
            assert values[row, element].item() == _defined(code, int(scales[row, group]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@fuzz
@given(groups=st.integers(1, 7), seed=st.integers(0, 2**31))
def test_packing_what_was_unpacked_keeps_every_value(dtype, groups, seed):
    """Signed zeros included; bytes too wherever the block's largest code is 4 or 6."""
    blocks, scales = _random_bytes(groups, seed)
    values = unpack(blocks, scales, dtype)
    packed = pack(values)
    again = unpack(*packed, dtype)
    assert torch.equal(again, values)
    assert torch.equal(torch.signbit(again), torch.signbit(values))
    nibbles = torch.stack((blocks & 7, (blocks >> 4) & 7))
    full = nibbles.amax(dim=(0, -1)) >= 6
    assert torch.equal(packed.blocks[full], blocks[full])
    assert torch.equal(packed.scales[full], scales[full])


@fuzz
@given(seed=st.integers(0, 2**31), exponent=st.integers(-100, 100))
def test_pack_rounds_to_the_nearest_value_of_its_scale(seed, exponent):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(4, 64, generator=generator, dtype=torch.float64) * 2.0**exponent
    values = values.float()
    blocks, scales = pack(values)
    rounded = unpack(blocks, scales, torch.float64).view(4, 2, 32)
    unit = torch.tensor(2.0, dtype=torch.float64) ** (scales.double() - 127)
    grid = torch.tensor(MAGNITUDES, dtype=torch.float64)
    scaled = values.double().view(4, 2, 32).abs() / unit[..., None]
    best = (scaled[..., None] - grid).abs().amin(-1)
    assert torch.allclose((rounded.abs() / unit[..., None] - scaled).abs(), best, rtol=0, atol=1e-9)
    assert (scaled <= 7).all()


def test_ties_go_to_the_even_code():
    ties = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 4.0] + [0.0] * 24)
    assert unpack(*pack(ties), torch.float32)[:8].tolist() == [0, 1, 1, 2, 2, 4, 4, 4]


def test_scale_255_is_nan_and_zero_blocks_pack():
    blocks = torch.full((1, 16), 0x22, dtype=torch.uint8)
    assert unpack(blocks, torch.tensor([255], dtype=torch.uint8)).isnan().all()
    assert (unpack(*pack(torch.zeros(32))) == 0).all()


@pytest.mark.parametrize("values", [torch.zeros(33), torch.full((32,), math.inf)])
def test_pack_refuses_what_it_cannot_hold(values):
    with pytest.raises(ValueError, match=r"multiple of 32|infinities"):
        pack(values)
