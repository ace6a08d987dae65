"""TextMask: a grammar for all that is drawn, where a prompt is text and no conversation."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ossia.harmony.header_mask import ContentMask, with_tokens
from ossia.structured import Grammar
from ossia.tokenizer import Tokenizer, special
from ossia.types import TokenMask


def text_masks(
    tokenizer: Tokenizer, grammar: Grammar, end_ids: Collection[int]
) -> Callable[[int], TokenMask]:
    """The `make_mask` of a request whose whole output a grammar governs.

    Args:
        tokenizer: Of the model.
        grammar: What the output must look like; compiled at once, or taken from those kept.
        end_ids: Special tokens, one of which ends the output.

    Raises:
        RequestError: the grammar cannot be enforced, or is too large.
    """
    # Only who asks for a grammar pays for loading what compiles it.
    from ossia.structured.cache import grammar_cache
    from ossia.structured.mask import GrammarMask

    compiled = grammar_cache(tokenizer).compiled(grammar)
    return lambda _: TextMask(GrammarMask(compiled), end_ids)


class TextMask:
    """Follows one continuation; a `TokenMask` for the engine.

    Args:
        content: Follows the text.
        end_ids: Special tokens, allowed where the text is complete.
    """

    def __init__(self, content: ContentMask, end_ids: Collection[int]) -> None:
        self._content = content
        self._end_ids = tuple(end_ids)

    def allowed(self) -> memoryview:
        """The set of tokens that may come next.

        Raises:
            ValueError: the grammar has become too complex.
        """
        ordinary = self._content.allowed()
        if not self._content.may_end:
            return memoryview(ordinary)
        return memoryview(with_tokens(ordinary, self._end_ids))

    def accept(self, token_id: int) -> None:
        """Move on behind the token that was drawn.

        Raises:
            ValueError: it was not allowed.
        """
        if not special.is_special(token_id):
            self._content.accept(token_id)
