"""How far an implementation may lie from its float64 definition: one place, never loosened.

Relative to the largest magnitude of the expected tensor.
"""

import torch

TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 2e-5,
    torch.bfloat16: 2e-2,
    torch.float16: 3e-3,
}


def assert_near(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare with the tolerance of actual's dtype; NaN anywhere fails."""
    error = (actual.double() - expected.double()).abs().max()
    scale = expected.double().abs().max().clamp(min=1e-3)
    assert error <= TOLERANCE[actual.dtype] * scale, (float(error), float(scale))


INT8_ACTIVATIONS = {torch.float32: 1e-2, torch.bfloat16: 2e-2}
"""Of kernels that round activations to 8 bits, against that rounding in float64: what lies on the border of
two integers may fall to either side, a 127th apart. By the dtype of the tokens."""
