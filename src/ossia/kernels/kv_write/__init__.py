"""Putting new keys and values into their pages."""

from ossia.kernels.kv_write.reference import write_kv

__all__ = ["write_kv"]
