"""Products with dense matrices: a row for each output, as torch.nn.Linear has them."""

from ossia.kernels.dense.choice import linear, linear_int8

__all__ = ["linear", "linear_int8"]
