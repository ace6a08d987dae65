"""MIN_TEMPERATURE: what a temperature above 0 counts as at least."""

MIN_TEMPERATURE = 1e-30
"""Keeps (x - max) / temperature from being 0 / 0."""
