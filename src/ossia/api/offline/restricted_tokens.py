"""RestrictedTokens: a mask that keeps a text to some tokens and out of some words."""

from __future__ import annotations

from collections.abc import Sequence

from ossia.errors import RequestError
from ossia.tokenizer import Tokenizer, special

_BYTES = -(-special.VOCAB_SIZE // 8)


class RestrictedTokens:
    """For one continuation: a `TokenMask` of the engine.

    Args:
        allowed_ids: Tokens that may be drawn; None means any.
        bad_sequences: Sequences of tokens of which the last one is never drawn behind the others.

    Raises:
        RequestError: an id is outside the vocabulary.
    """

    def __init__(
        self, allowed_ids: Sequence[int] | None, bad_sequences: Sequence[Sequence[int]]
    ) -> None:
        self._bad = [tuple(sequence) for sequence in bad_sequences if sequence]
        self._behind = max((len(sequence) for sequence in self._bad), default=1) - 1
        self._last: list[int] = []
        self._always = bytes(_bits(allowed_ids))

    def allowed(self) -> bytes:
        """The set of ids that may come next."""
        ruled_out = [
            sequence[-1]
            for sequence in self._bad
            if len(sequence) == 1 or tuple(self._last[1 - len(sequence) :]) == sequence[:-1]
        ]
        if not ruled_out:
            return self._always
        bits = bytearray(self._always)
        for token_id in ruled_out:
            bits[token_id // 8] &= ~(1 << token_id % 8)
        return bytes(bits)

    def accept(self, token_id: int) -> None:
        """Move on behind the token that was drawn."""
        if self._behind:
            self._last = [*self._last, token_id][-self._behind :]


def bad_sequences(tokenizer: Tokenizer, words: Sequence[str]) -> list[list[int]]:
    """The tokens of words, as they are at the begin of a text and behind a space."""
    found: list[list[int]] = []
    for word in words:
        alone = tokenizer.encode(word.strip())
        spaced = tokenizer.encode(" " + word.strip())
        found += [alone] if alone == spaced else [alone, spaced]
    return found


def _bits(allowed_ids: Sequence[int] | None) -> bytearray:
    if allowed_ids is None:
        return bytearray(b"\xff" * _BYTES)
    bits = bytearray(_BYTES)
    for token_id in allowed_ids:
        if type(token_id) is not int or not 0 <= token_id < special.VOCAB_SIZE:
            raise RequestError(f"{token_id!r} is no token id", field="allowed_token_ids")
        bits[token_id // 8] |= 1 << token_id % 8
    return bits
