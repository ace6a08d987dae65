"""renderer_of: the one renderer of a tokenizer, since it remembers what it has encoded."""

from __future__ import annotations

from functools import lru_cache

from ossia.harmony import Renderer
from ossia.tokenizer import Tokenizer


@lru_cache(maxsize=4)
def renderer_of(tokenizer: Tokenizer) -> Renderer:
    """The renderer that all conversations with this tokenizer share; safe to use from any thread."""
    return Renderer(tokenizer)
