"""Embedding rows from spelling: what a token's row in the demo's vocabulary matrices is made of.

A row is the sum of learned vectors, one for each feature of the token's bytes: which letter stands
at which place from the front and from the back, what punctuation comes before the first letter,
how long it is. Tokens that are frequent in the demo's training add a vector of their own. So words
the demo has never seen still have rows that spell them, and 201,088 rows need few bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from ossia.tokenizer.special import VOCAB_SIZE
from ossia.tokenizer.vocabulary import token_bytes

_FRONT_PLACES = 14
_BACK_PLACES = 4
_MAX_LENGTH = 16
_HIGH_CLASS = 70  # all bytes that are not ASCII
_CLASSES = 71

# Where each group of features begins.
_FRONT = 0
_BACK = _FRONT + _FRONT_PLACES * _CLASSES
_UPPER = _BACK + _BACK_PLACES * _CLASSES
_LENGTH = _UPPER + _FRONT_PLACES
_PREFIX = _LENGTH + _MAX_LENGTH + 1
_LEAD = _PREFIX + _CLASSES
_TWINS = _LEAD + 64
_SPECIAL = _TWINS + 2
NUM_FEATURES = _SPECIAL + 1

Pairs = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


@cache
def feature_pairs() -> Pairs:
    """Which token has which feature.

    Returns:
        Token ids and feature numbers, two arrays of one length, ordered by token and then feature;
        no pair comes twice.
    """
    tokens = list(token_bytes())
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    text = np.frombuffer(b"".join(tokens), np.uint8)
    owner = np.repeat(np.arange(len(tokens)), lengths)
    starts = np.cumsum(lengths) - lengths
    first = text[starts]
    prefixed = (lengths > 1) & _IS_PREFIX[first]
    place = np.arange(len(text)) - starts[owner] - prefixed[owner]  # -1 at a prefix
    core = lengths - prefixed
    from_back = core[owner] - 1 - place
    in_front = (place >= 0) & (place < _FRONT_PLACES)
    in_back = (place >= 0) & (from_back < _BACK_PLACES)
    upper = in_front & (text >= ord("A")) & (text <= ord("Z"))
    classes = _CLASS_OF_BYTE[text].astype(np.int64)
    ids = np.arange(len(tokens))
    high = first >= 0xC0
    bare_twin, spaced_twin = _twins(tokens, prefixed.tolist())
    groups = [
        (owner[in_front], _FRONT + place[in_front] * _CLASSES + classes[in_front]),
        (owner[in_back], _BACK + from_back[in_back] * _CLASSES + classes[in_back]),
        (owner[upper], _UPPER + place[upper]),
        (ids, _LENGTH + np.minimum(core, _MAX_LENGTH)),
        (ids[prefixed], _PREFIX + _CLASS_OF_BYTE[first[prefixed]].astype(np.int64)),
        (ids[high], _LEAD + first[high].astype(np.int64) - 0xC0),
        (bare_twin, np.full(len(bare_twin), _TWINS)),
        (spaced_twin, np.full(len(spaced_twin), _TWINS + 1)),
        (special := np.arange(len(tokens), VOCAB_SIZE), np.full(len(special), _SPECIAL)),
    ]
    # No group can give a token the same feature twice, so sorting is enough.
    keys = np.sort(np.concatenate([token * NUM_FEATURES + feature for token, feature in groups]))
    return keys // NUM_FEATURES, keys % NUM_FEATURES


def _twins(tokens: Sequence[bytes], prefixed: Sequence[bool]) -> Pairs:
    """Tokens whose text also is a token without its prefix, and with a space before it."""
    known = set(tokens)
    cores = [token[1:] if cut else token for token, cut in zip(tokens, prefixed, strict=True)]
    bare = [idx for idx, core in enumerate(cores) if core in known]
    spaced = [idx for idx, core in enumerate(cores) if b" " + core in known]
    return np.array(bare), np.array(spaced)


def _class_of_byte() -> npt.NDArray[np.uint8]:
    """Letters without their case are 0-25, then digits, then other ASCII, then all the rest."""
    classes = np.full(256, _HIGH_CLASS, np.uint8)
    others = iter(range(36, _HIGH_CLASS))
    for byte in range(128):
        char = chr(byte)
        if char.isalpha():
            classes[byte] = ord(char.lower()) - ord("a")
        elif char.isdigit():
            classes[byte] = 26 + int(char)
        elif char.isprintable():
            classes[byte] = next(others)
        else:
            classes[byte] = _HIGH_CLASS - 1
    return classes


_CLASS_OF_BYTE = _class_of_byte()
_IS_PREFIX = np.array([byte < 128 and not chr(byte).isalnum() for byte in range(256)])
