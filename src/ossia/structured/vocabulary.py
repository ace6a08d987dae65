"""The vocabulary as llguidance wants it, made once for each tokenizer."""

from __future__ import annotations

from functools import lru_cache

from llguidance import LLTokenizer, TokenizerWrapper

from ossia.tokenizer import Tokenizer, special

_IN_STRING = r'[^"\\\x00-\x1F\x7F]'
_SLICES = [
    r"[\x20\x0A\x0D\x09]+",
    *(f"{_IN_STRING}{{1,{length}}}" for length in (3, 6, 10, 15, 30)),
    f"{_IN_STRING}+",
]
"""Groups of tokens that are let through as one where a grammar takes them all.

The short ones are for strings that `maxLength` ends: a walk through all tokens takes 2 ms.
"""


class _Vocabulary:
    """The ordinary tokens, and one end. No grammar can name a control token, since none is here."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        nameless = special.VOCAB_SIZE - special.FIRST_SPECIAL
        self.tokens = [*tokenizer.ordinary_tokens, *[b""] * nameless]
        self.tokens[special.RETURN] = b"<|return|>"
        self.special_token_ids = [special.RETURN]
        self.eos_token_id = special.RETURN
        self.bos_token_id = None

    def __call__(self, text: bytes) -> list[int]:
        return self._tokenizer.encode(text.decode("utf-8", "replace"))


@lru_cache(maxsize=2)
def ll_tokenizer(tokenizer: Tokenizer) -> LLTokenizer:
    """Half a second of work, and 250 MB at times."""
    wrapper = TokenizerWrapper(_Vocabulary(tokenizer))
    return LLTokenizer(wrapper, n_vocab=special.VOCAB_SIZE, slices=_SLICES)
