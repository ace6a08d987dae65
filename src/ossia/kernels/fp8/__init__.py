"""Numbers in 8-bit floats, for GPUs: matrices with a scale for each row, keys and values without."""

from ossia.kernels.fp8.choice import FEW_TOKENS, linear, multiply
from ossia.kernels.fp8.format import GROUP, Fp8Matrix, adjoining, dequantize, quantize
from ossia.kernels.fp8.rows import FP8, has_fp8, to_fp8

__all__ = [
    "FEW_TOKENS",
    "FP8",
    "GROUP",
    "Fp8Matrix",
    "adjoining",
    "dequantize",
    "has_fp8",
    "linear",
    "multiply",
    "quantize",
    "to_fp8",
]
