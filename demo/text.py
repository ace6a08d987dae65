"""Text as token ids: templates with marked places, and copies of tokens between contexts.

A small model copies best when it may repeat the very token it has seen. Text that stood behind a
space or a quote is often one token with that character, so the copies here say what to emit when
the surroundings change: the same letters without the prefix, or with a space before them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache

from ossia.tokenizer import Tokenizer
from ossia.tokenizer.vocabulary import token_bytes

Span = tuple[int, int]  # first and last + 1 character of a value in a text
SPACE = 220  # the token of a lone space

_PLACE = re.compile(r"\{(\w+)\}")


@cache
def id_of_bytes() -> dict[bytes, int]:
    """Every ordinary token's id by its bytes."""
    return {token: token_id for token_id, token in enumerate(token_bytes())}


def encode_fresh(text: str) -> list[int]:
    """Ids of text that will hardly come again."""
    return Tokenizer.o200k_harmony().encode(text)


@lru_cache(maxsize=1 << 15)
def encode(text: str) -> tuple[int, ...]:
    """Ids of text that is likely to come again."""
    return tuple(encode_fresh(text))


def decode(ids: Iterable[int]) -> str:
    """The text of ordinary tokens."""
    table = token_bytes()
    return b"".join([table[token_id] for token_id in ids]).decode("utf-8", "replace")


def join(*parts: str | Sequence[int]) -> list[int]:
    """Ids of parts one behind the other; a part is text or already ids."""
    ids: list[int] = []
    for part in parts:
        ids += encode(part) if isinstance(part, str) else part
    return ids


def fill(template: str, values: Mapping[str, str]) -> tuple[str, dict[str, Span]]:
    """Put values into `{name}` places and say where they came to stand."""
    pieces: list[str] = []
    spans: dict[str, Span] = {}
    length = 0
    for idx, piece in enumerate(_split(template)):
        if idx % 2:
            name, piece = piece, values[piece]
            spans[name] = (length, length + len(piece))
        pieces.append(piece)
        length += len(piece)
    return "".join(pieces), spans


def tokens_at(text: str, ids: Sequence[int], span: Span) -> list[int]:
    """The tokens of `text` that hold the characters of a span, a prefix character included."""
    start, end = span
    if not text.isascii():
        start, end = len(text[:start].encode()), len(text[:end].encode())
    table = token_bytes()
    found: list[int] = []
    position = 0
    for token_id in ids:
        position += len(table[token_id])
        if position > start:
            found.append(token_id)
        if position >= end:
            break
    return found


@lru_cache(maxsize=1 << 16)
def core_of(token_id: int) -> str:
    """A token's text without the space or punctuation mark that it may begin with."""
    text = decode([token_id])
    return text[1:] if has_prefix(token_id) else text


@lru_cache(maxsize=1 << 16)
def has_prefix(token_id: int) -> bool:
    """Whether a token begins with a space or punctuation mark and goes on."""
    text = decode([token_id])
    return len(text) > 1 and not text[0].isalnum()


def bare(ids: Sequence[int]) -> list[int]:
    """The same text without a prefix character: the twin of the first token, or its letters."""
    text = core_of(ids[0])
    twin = id_of_bytes().get(text.encode())
    first = [twin] if twin is not None else [i for letter in text for i in encode(letter)]
    return [*first, *ids[1:]]


def spaced(ids: Sequence[int]) -> list[int]:
    """The same text with a space before it: the twin of the first token, or a space of its own."""
    twin = id_of_bytes().get(b" " + core_of(ids[0]).encode())
    return [twin, *ids[1:]] if twin is not None else [SPACE, *bare(ids)]


@lru_cache(maxsize=4096)
def _split(template: str) -> list[str]:
    return _PLACE.split(template)
