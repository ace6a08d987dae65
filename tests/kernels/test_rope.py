"""YaRN's numbers, and rotation against complex multiplication."""

from __future__ import annotations

import pytest
import torch

from ossia.config import PRESETS
from ossia.kernels.rope import apply_rope, rope_table, yarn_inverse_frequencies
from ossia.model.layers import RotaryTable
from support.tolerances import assert_near

REAL = PRESETS["20b"]().rope_scaling


def _real_frequencies(**changes: object) -> torch.Tensor:
    arguments = {
        "factor": 32.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "original_context": 4096,
        "truncate": False,
    }
    return yarn_inverse_frequencies(64, 150_000.0, **(arguments | changes))


def test_frequencies_of_the_released_models():
    """Golden values computed from the YaRN formula in the reference implementation."""
    first = [1, 0.689044, 0.474782, 0.327146, 0.225418, 0.155323, 0.107024, 0.0737446, 0.0508133]
    frequencies = _real_frequencies()
    expected = torch.tensor([*first, 0.0317057, 0.019335])
    torch.testing.assert_close(frequencies[:11], expected, rtol=2e-5, atol=0)
    assert frequencies[-1].item() == pytest.approx(3.02351e-7, rel=1e-5)


def test_concentration_of_the_released_models():
    assert pytest.approx(1.3465736, abs=1e-7) == REAL.concentration


def test_ramp_bounds_of_the_released_models():
    """The ramp runs from 8.092779 to 17.398025: pair 8 is untouched, 9 is not, 18 is slowed fully."""
    plain = _real_frequencies(factor=1.0)
    ratio = _real_frequencies() / plain
    assert ratio[8] == 1.0
    ramp = (1 - ratio) / (1 - 1 / 32)
    assert ramp[9].item() == pytest.approx((9 - 8.092779) / (17.398025 - 8.092779), rel=1e-4)
    assert ramp[17].item() == pytest.approx((17 - 8.092779) / (17.398025 - 8.092779), rel=1e-4)
    assert ratio[18].item() == pytest.approx(1 / 32)


def test_truncate_widens_the_ramp_to_whole_pairs():
    ratio = _real_frequencies(truncate=True) / _real_frequencies(factor=1.0)
    assert (1 - ratio[9].item()) / (1 - 1 / 32) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_rotation_is_complex_multiplication(dtype):
    x = torch.randn(7, 3, 16, dtype=dtype)
    angles = torch.randn(7, 8, dtype=torch.float64)
    spun = torch.complex(x[..., :8].double(), x[..., 8:].double())
    spun = spun * torch.polar(torch.ones_like(angles), angles)[:, None]
    rotated = apply_rope(x, angles.cos().to(dtype), angles.sin().to(dtype))
    assert_near(rotated, torch.cat((spun.real, spun.imag), dim=-1))


def test_scores_depend_on_distance_alone():
    q, k = torch.randn(2, 1, 1, 64)
    positions = torch.tensor([5, 1005, 100_005])
    cos, sin = rope_table(positions, _real_frequencies(), 1.0)
    near = [
        (apply_rope(q, cos[i : i + 1], sin[i : i + 1]) * apply_rope(k, *_row(pos - 3))).sum()
        for i, pos in enumerate(positions.tolist())
    ]
    torch.testing.assert_close(near[0], near[1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(near[0], near[2], rtol=2e-2, atol=5e-2)


def _row(position: int) -> tuple[torch.Tensor, torch.Tensor]:
    return rope_table(torch.tensor([position]), _real_frequencies(), 1.0)


def test_the_rotary_layer_keeps_float32_and_carries_no_state():
    layer = RotaryTable(PRESETS["tiny"]()).to(torch.bfloat16)
    cos, _ = layer(torch.tensor([0, 1]))
    assert cos.dtype == torch.float32
    assert cos[0, 0].item() == pytest.approx(REAL.concentration)
    assert layer.state_dict() == {}
