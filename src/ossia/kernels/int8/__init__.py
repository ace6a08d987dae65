"""Numbers in 8 bits: matrices with a scale for each 32 weights, rows of keys and values with one each."""

from ossia.kernels.int8.format import GROUP, TILE_ROWS, Int8Matrix, dequantize
from ossia.kernels.int8.quantize import quantize, quantize_by_torch
from ossia.kernels.int8.rows import dequantize_rows, quantize_rows, row_width

__all__ = [
    "GROUP",
    "TILE_ROWS",
    "Int8Matrix",
    "dequantize",
    "dequantize_rows",
    "quantize",
    "quantize_by_torch",
    "quantize_rows",
    "row_width",
]
