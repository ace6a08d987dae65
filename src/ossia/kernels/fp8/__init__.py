"""Matrices in 8-bit floats with a scale for each row, for GPUs."""

from ossia.kernels.fp8.choice import FEW_TOKENS, linear, multiply
from ossia.kernels.fp8.format import GROUP, Fp8Matrix, adjoining, dequantize, quantize

__all__ = [
    "FEW_TOKENS",
    "GROUP",
    "Fp8Matrix",
    "adjoining",
    "dequantize",
    "linear",
    "multiply",
    "quantize",
]
