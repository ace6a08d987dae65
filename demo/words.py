"""Words to count letters in, to name tools with, and to talk nonsense with."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from random import Random

from demo.dialogue import Split
from demo.splits import split_of
from ossia.tokenizer.vocabulary import token_bytes

OWN_WORDS = Path(__file__).with_suffix(".txt").read_text().split()

# fmt: off
_SYLLABLE_STARTS = ("b", "bl", "br", "c", "ch", "cl", "cr", "d", "dr", "f", "fl", "fr", "g", "gl", "gr", "h", "j", "k", "kl", "kr", "l", "m", "n", "p", "pl", "pr", "qu", "r", "s", "sh", "sk", "sl", "sp", "st", "str", "t", "th", "tr", "v", "w", "y", "z")

_SYLLABLE_HEARTS = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "oo", "ou", "ie")
_SYLLABLE_ENDS = ("", "", "", "n", "r", "l", "s", "t", "m", "rr", "ss", "ll", "tt", "ck", "rd", "st", "nd")
# fmt: on
_LOWER_WORD = re.compile(rb" [a-z]{3,13}")
_LOWER_PIECE = re.compile(rb"[a-z]{2,6}")


@cache
def vocabulary_words() -> tuple[str, ...]:
    """Lower-case words, of English and other languages, that are one token behind a space."""
    return tuple(t[1:].decode() for t in token_bytes() if _LOWER_WORD.fullmatch(t))


@cache
def vocabulary_pieces() -> tuple[str, ...]:
    """Lower-case tokens that stand inside words."""
    return tuple(t.decode() for t in token_bytes() if _LOWER_PIECE.fullmatch(t))


def pseudo_word(rng: Random, syllables: int = 0) -> str:
    """A made-up word that can be said aloud."""
    count = syllables or rng.choice((1, 2, 2, 3, 3, 4))
    return "".join(
        rng.choice(_SYLLABLE_STARTS) + rng.choice(_SYLLABLE_HEARTS) + rng.choice(_SYLLABLE_ENDS)
        for _ in range(count)
    )


def any_word(rng: Random) -> str:
    """A lower-case word of any origin."""
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(OWN_WORDS)
    if kind < 0.60:
        return rng.choice(vocabulary_words())
    if kind < 0.78:
        return pseudo_word(rng)
    if kind < 0.84:
        return rng.choice(OWN_WORDS) + rng.choice(OWN_WORDS)
    if kind < 0.88:
        return (
            pseudo_word(rng, 1) * 2 if rng.random() < 0.5 else rng.choice(vocabulary_pieces()) * 2
        )
    return "".join(rng.choice(vocabulary_pieces()) for _ in range(rng.choice((2, 2, 3, 3, 4))))


def word_of(rng: Random, split: Split) -> str:
    """A lower-case word of 2 to 20 letters that lies on one side of the split."""
    while True:
        word = any_word(rng)
        if 2 <= len(word) <= 20 and split_of(word) == split:
            return word


def name_of(rng: Random) -> str:
    """A capitalised word: a name nobody has."""
    word = rng.choice(vocabulary_words()) if rng.random() < 0.5 else pseudo_word(rng)
    return word.capitalize()


def plain_word(rng: Random) -> str:
    """A word for sentences without meaning."""
    return rng.choice(OWN_WORDS) if rng.random() < 0.3 else rng.choice(vocabulary_words())


def salad(rng: Random, low: int, high: int) -> str:
    """Words in no order."""
    return " ".join(plain_word(rng) for _ in range(rng.randint(low, high)))
