"""Rotary position embedding (arXiv:2104.09864) with YaRN scaling (arXiv:2309.00071)."""

from ossia.kernels.rope.reference import apply_rope, rope_table, yarn_inverse_frequencies

__all__ = ["apply_rope", "rope_table", "yarn_inverse_frequencies"]
