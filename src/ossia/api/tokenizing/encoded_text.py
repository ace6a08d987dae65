"""EncodedText: one text as ids, and where in the text each of them comes from.

What is rarely asked for (offsets, words) is found out when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain
from typing import NamedTuple

from ossia.tokenizer import Tokenizer, special
from ossia.tokenizer.tokenizer import split_at_special, without_surrogates


class CharSpan(NamedTuple):
    """Characters of a text, the end not among them."""

    start: int
    end: int


class TokenSpan(NamedTuple):
    """Tokens of a text, the end not among them."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where one token comes from: characters of its text (or of its word, if words were given)."""

    span: tuple[int, int]
    word: int


@dataclass(slots=True)
class _Piece:
    """Plain text, or a special token, with its ids; `first_char` counts from the text's begin."""

    text: str
    ids: list[int]
    first_char: int
    word: int | None  # its number, if words were given


@dataclass
class EncodedText:
    """Ids of one text, cut and padded as asked.

    Args:
        tokenizer: Made the ids.
        pieces: What the text consists of.
        keeps: Begin and end of what was not cut off.
        left: Padding before.
        right: Padding behind.
        pad_id: What padding is written as.
    """

    tokenizer: Tokenizer
    pieces: list[_Piece]
    keeps: tuple[int, int | None] = (0, None)
    left: int = 0
    right: int = 0
    pad_id: int = special.ENDOFTEXT
    own_ids: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.own_ids = list(chain.from_iterable(piece.ids for piece in self.pieces))

    @classmethod
    def of(cls, tokenizer: Tokenizer, text: str, *, split_special: bool) -> EncodedText:
        """Encode a text.

        Args:
            tokenizer: How.
            text: What.
            split_special: Whether names of special tokens in it are mere text.
        """
        return cls(tokenizer, _pieces(tokenizer, text, split_special, None))

    @classmethod
    def of_words(
        cls, tokenizer: Tokenizer, words: Sequence[str], *, split_special: bool
    ) -> EncodedText:
        """Encode words one by one; nothing is put between them."""
        parts = (
            _pieces(tokenizer, word, split_special, number) for number, word in enumerate(words)
        )
        return cls(tokenizer, list(chain.from_iterable(parts)))

    @classmethod
    def of_marked(cls, tokenizer: Tokenizer, text: str, mark: str) -> EncodedText:
        """Encode a text whose untrusted special tokens a mark has broken up; the mark vanishes."""
        pieces = _pieces(tokenizer, text, False, None)
        for piece in pieces:
            if mark in piece.text:
                piece.text = piece.text.replace(mark, "")
                piece.ids = tokenizer.encode(piece.text)
        return cls(tokenizer, pieces)

    def truncate(self, length: int, side: str) -> None:
        """Keep so many tokens at most; `side` is where the others are cut off."""
        count = len(self.own_ids)
        if count > length:
            self.keeps = (0, length) if side == "right" else (count - length, count)
            self.own_ids = self.own_ids[slice(*self.keeps)]

    def pad(self, length: int, side: str, pad_id: int) -> None:
        """Fill up to so many tokens."""
        missing = max(0, length - len(self.own_ids))
        self.pad_id = pad_id
        self.left, self.right = (missing, 0) if side == "left" else (0, missing)

    def __len__(self) -> int:
        return self.left + len(self.own_ids) + self.right

    @property
    def ids(self) -> list[int]:
        """Token ids, padding included; so with all that follows."""
        return [self.pad_id] * self.left + self.own_ids + [self.pad_id] * self.right

    @property
    def attention_mask(self) -> list[int]:
        """1 for tokens of the text."""
        return [0] * self.left + [1] * len(self.own_ids) + [0] * self.right

    @property
    def special_tokens_mask(self) -> list[int]:
        """1 for what the tokenizer added, which is padding alone."""
        return [1] * self.left + [0] * len(self.own_ids) + [1] * self.right

    @property
    def type_ids(self) -> list[int]:
        """Which text of a pair a token is from: there is only one."""
        return [0] * len(self)

    @property
    def tokens(self) -> list[str | None]:
        """The tokens as tokenizer.json writes them."""
        return [self.tokenizer.id_to_name(token_id) for token_id in self.ids]

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Begin and end in characters of the text, or of a token's word if words were given."""
        own = [origin.span for origin in self._origins]
        return [(0, 0)] * self.left + own + [(0, 0)] * self.right

    @property
    def word_ids(self) -> list[int | None]:
        """The number of each token's word; None for padding."""
        own = [origin.word for origin in self._origins]
        return [None] * self.left + own + [None] * self.right

    @property
    def sequence_ids(self) -> list[int | None]:
        """0 for tokens of the text, None for padding."""
        return [None] * self.left + [0] * len(self.own_ids) + [None] * self.right

    def char_to_token(self, char: int) -> int | None:
        """The first token that holds a character; None if there is none."""
        for place, (start, end) in enumerate(self.offsets):
            if start <= char < end:
                return place
        return None

    def word_to_tokens(self, word: int) -> tuple[int, int] | None:
        """Begin and end of a word's tokens; None if it was cut off."""
        places = [place for place, number in enumerate(self.word_ids) if number == word]
        return (places[0], places[-1] + 1) if places else None

    @cached_property
    def _all_origins(self) -> list[_Origin]:
        origins: list[_Origin] = []
        words = 0
        for piece in self.pieces:
            found = _origins(self.tokenizer, piece, words)
            words = found[-1].word + 1 if found else words
            origins += found
        return origins

    @property
    def _origins(self) -> list[_Origin]:
        return self._all_origins[slice(*self.keeps)]


def _pieces(tokenizer: Tokenizer, text: str, split_special: bool, word: int | None) -> list[_Piece]:
    pieces: list[_Piece] = []
    place = 0
    # Names that no tokenizer.json lists are text, as for every user of that file.
    text = without_surrogates(text)
    cut = [text] if split_special else split_at_special(text, special.LAST_LISTED)
    for part in cut:
        if isinstance(part, str):
            pieces.append(_Piece(part, tokenizer.encode(part), place, word))
        else:
            pieces.append(_Piece(special.SPECIAL_TOKENS[part], [part], place, word))
        place += len(pieces[-1].text)
    return pieces


def _origins(tokenizer: Tokenizer, piece: _Piece, first_word: int) -> list[_Origin]:
    is_name = len(piece.ids) == 1 and special.is_special(piece.ids[0])
    if is_name:
        word = first_word if piece.word is None else piece.word
        begin = piece.first_char
        return [_Origin((begin, begin + len(piece.text)), word)]
    char_of_byte = [
        number
        for number, character in enumerate(piece.text, start=piece.first_char)
        for _ in range(len(character.encode()))
    ]
    word_of_byte: list[int] = []
    if piece.word is None:
        for number, length in enumerate(tokenizer.words(piece.text), start=first_word):
            word_of_byte += [number] * length
    origins: list[_Origin] = []
    begin = 0
    for end in accumulate(len(tokenizer.token_bytes(token_id)) for token_id in piece.ids):
        span = (char_of_byte[begin], char_of_byte[end - 1] + 1)
        origins.append(_Origin(span, word_of_byte[begin] if piece.word is None else piece.word))
        begin = end
    return origins
