"""The experts: two matrices each, with a clamped SwiGLU between them."""

from ossia.kernels.moe.choice import route_and_run, run_experts
from ossia.kernels.moe.reference import ExpertWeights, clamped_swiglu

__all__ = ["ExpertWeights", "clamped_swiglu", "route_and_run", "run_experts"]
