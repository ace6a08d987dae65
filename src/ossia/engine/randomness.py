"""Random numbers that depend on nothing but what they are for."""

from __future__ import annotations

import hashlib
import secrets
import struct


def fresh_seed() -> int:
    """A seed for a request that brought none."""
    return secrets.randbits(63)


def uniform(seed: int, continuation: int, position: int) -> float:
    """The number in [0, 1) that draws one token.

    A keyed hash of its arguments instead of a generator's next state: it does not matter in which
    order, in which batch or how often it is asked for.

    Args:
        seed: Of the request, below 2**63.
        continuation: Which of the request's continuations.
        position: How many output tokens came before.
    """
    counter = struct.pack("<QQQ", seed, continuation, position)
    digest = hashlib.blake2b(counter, digest_size=8, person=b"ossia.draw").digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53
