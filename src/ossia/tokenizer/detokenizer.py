"""IncrementalDetokenizer: ids in one at a time, text out as soon as it is whole."""

from __future__ import annotations

import codecs

from ossia.tokenizer.special import is_special
from ossia.tokenizer.tokenizer import Tokenizer

_Utf8Decoder = codecs.getincrementaldecoder("utf-8")


class IncrementalDetokenizer:
    """Turns a stream of ids into text without ever giving out part of a character.

    All pieces together equal `Tokenizer.decode` of all ids: bytes that are no UTF-8 become U+FFFD
    where `bytes.decode("utf-8", "replace")` over the whole would put it.

    Args:
        tokenizer: Gives each id its bytes.
        show_special: Write the names of special tokens instead of leaving them out.
    """

    def __init__(self, tokenizer: Tokenizer, *, show_special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._show_special = show_special
        self._decoder = _Utf8Decoder("replace")

    def push(self, token_id: int) -> str:
        """The text that this token completes; often none when a character spans tokens.

        Raises:
            RequestError: the id is not in the vocabulary.
        """
        if is_special(token_id) and not self._show_special:
            return ""
        return self._decoder.decode(self._tokenizer.token_bytes(token_id))

    def flush(self) -> str:
        """What is still held back, as U+FFFD; afterwards the detokenizer is as new."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
