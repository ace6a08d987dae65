"""The experts: two matrices each, with a clamped SwiGLU between them."""

from ossia.kernels.moe.choice import run_experts
from ossia.kernels.moe.reference import ExpertWeights, clamped_swiglu

__all__ = ["ExpertWeights", "clamped_swiglu", "run_experts"]
