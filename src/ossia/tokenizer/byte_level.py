"""The byte-level alphabet: how a tokenizer.json writes bytes as printable characters.

Printable Latin-1 bytes stand for themselves; the other 68 take the code points from U+0100 on, in
order of byte value (the scheme of GPT-2, Radford et al. 2019).
"""

from __future__ import annotations

import codecs
from typing import Final

_PRINTABLE: Final = frozenset([*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)])


def _alphabet() -> str:
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in _PRINTABLE else next(others)) for byte in range(256))


ALPHABET: Final = _alphabet()
"""The character of each byte, by byte value."""

_BYTE_OF_CHARACTER: Final = {character: byte for byte, character in enumerate(ALPHABET)}


def to_characters(data: bytes) -> str:
    """Bytes as a tokenizer.json writes them, one character a byte."""
    # A string is a map, too, and by far the fastest; typeshed does not know it.
    return codecs.charmap_decode(data, "strict", ALPHABET)[0]  # type: ignore[arg-type]


def to_bytes(text: str) -> bytes:
    """The bytes that a token of a tokenizer.json stands for.

    Raises:
        KeyError: a character outside the alphabet.
    """
    return bytes(_BYTE_OF_CHARACTER[character] for character in text)
