"""Pipelines: from text to text or labels in one call, with transformers' shapes."""
