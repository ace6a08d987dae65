"""The decoder as nn.Modules: knows tensors, not files, requests or pages."""
