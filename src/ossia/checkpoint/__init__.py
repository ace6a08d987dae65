"""Checkpoints: files to named tensors and back; knows no nn.Module."""
