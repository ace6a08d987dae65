"""Putting new keys and values into their pages, keys turned by their positions on the way."""

from ossia.kernels.kv_write.choice import rotate_and_write
from ossia.kernels.kv_write.reference import write_kv

__all__ = ["rotate_and_write", "write_kv"]
