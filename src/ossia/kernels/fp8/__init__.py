"""Numbers in 8-bit floats, for GPUs: matrices with a scale for each row, keys and values without, and both sides of long prompts' products."""

from ossia.kernels.fp8.choice import FEW_TOKENS, PACKED_TOKENS, linear, multiply
from ossia.kernels.fp8.format import GROUP, Fp8Matrix, adjoining, dequantize, quantize
from ossia.kernels.fp8.rows import FP8, has_fp8, to_fp8
from ossia.kernels.fp8.scaled import MANY_TOKENS, ScaledFp8, linear_rounded, takes

__all__ = [
    "FEW_TOKENS",
    "FP8",
    "GROUP",
    "MANY_TOKENS",
    "PACKED_TOKENS",
    "Fp8Matrix",
    "ScaledFp8",
    "adjoining",
    "dequantize",
    "has_fp8",
    "linear",
    "linear_rounded",
    "multiply",
    "quantize",
    "takes",
    "to_fp8",
]
