"""The paged KV cache: which page holds what, who owns it, and the tensors behind it."""
