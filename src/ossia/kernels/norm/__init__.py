"""RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467)."""

from ossia.kernels.norm.choice import rms_norm

__all__ = ["rms_norm"]
