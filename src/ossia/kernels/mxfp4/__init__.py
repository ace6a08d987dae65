"""MXFP4 tensors: 32 four-bit floats (E2M1) and one power-of-two scale (E8M0) to a block.

Source: OCP Microscaling Formats (MX) Specification v1.0. Layout, as in gpt-oss checkpoints:
`blocks` uint8 (..., groups, 16), the low nibble being the even element; `scales` uint8
(..., groups), biased by 127. A block lies along the last dimension of the logical tensor.
`RelaidMxfp4` holds the same bits in the order in which tensor cores take them, `InterleavedMxfp4` in
that of CPUs' vector units.
"""

from ossia.kernels.mxfp4.format import BLOCK_SIZE, Mxfp4Tensor
from ossia.kernels.mxfp4.interleaved import InterleavedMxfp4, deinterleave, interleave
from ossia.kernels.mxfp4.reference import pack, unpack
from ossia.kernels.mxfp4.relaid import RelaidMxfp4, relay, restore

__all__ = [
    "BLOCK_SIZE",
    "InterleavedMxfp4",
    "Mxfp4Tensor",
    "RelaidMxfp4",
    "deinterleave",
    "interleave",
    "pack",
    "relay",
    "restore",
    "unpack",
]
