"""The experts: two matrices each, with a clamped SwiGLU between them."""

from ossia.kernels.moe.reference import ExpertWeights, clamped_swiglu, run_experts

__all__ = ["ExpertWeights", "clamped_swiglu", "run_experts"]
