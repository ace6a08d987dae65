"""What is held out of training: decided by a hash of the content, so both sides agree for ever."""

from __future__ import annotations

from zlib import crc32

from demo.dialogue import Split

_HELD_OUT_SHARE = 20  # one in this many

# Words that people try first must be answered without having been seen.
ALWAYS_HELD_OUT = frozenset(
    [
        "strawberry",
        "raspberry",
        "blueberry",
        "mississippi",
        "banana",
        "pineapple",
        "tomato",
        "tomorrow",
        "committee",
        "bookkeeper",
        "possession",
        "parallel",
        "necessary",
        "onomatopoeia",
    ]
)


def split_of(*content: object) -> Split:
    """The side that this content belongs to; case does not matter."""
    key = " ".join(str(part) for part in content).lower()
    if key in ALWAYS_HELD_OUT or crc32(key.encode()) % _HELD_OUT_SHARE == 0:
        return "test"
    return "train"
