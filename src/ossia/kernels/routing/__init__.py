"""Choosing experts: the top k router logits, softmaxed among themselves."""

from ossia.kernels.routing.reference import route

__all__ = ["route"]
