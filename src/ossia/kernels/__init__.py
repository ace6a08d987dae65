"""Tensors in, tensors out: one folder per operation. Knows no model, request or file."""
