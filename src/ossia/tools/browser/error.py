"""BrowserError: why a step of the browser came to nothing, in words for the model."""

from __future__ import annotations


class BrowserError(Exception):
    """What the model is told in place of a result; it is the one who can do better."""
