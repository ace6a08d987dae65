"""RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467)."""

from ossia.kernels.norm.choice import add_rms_norm, rms_norm

__all__ = ["add_rms_norm", "rms_norm"]
