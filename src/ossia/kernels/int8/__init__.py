"""Matrices in 8 bits, with a scale for each 32 weights of a row."""

from ossia.kernels.int8.format import GROUP, TILE_ROWS, Int8Matrix, dequantize
from ossia.kernels.int8.quantize import quantize, quantize_by_torch

__all__ = [
    "GROUP",
    "TILE_ROWS",
    "Int8Matrix",
    "dequantize",
    "quantize",
    "quantize_by_torch",
]
