"""Which tokens get a vector of their own: those that the generated data uses most.

`python -m demo.own_tokens` counts them again and rewrites the list beside this file.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from random import Random

from demo.conversations import example
from ossia.tokenizer import special
from ossia.tokenizer.vocabulary import token_bytes

NUM_OWN = 1536
_FILE = Path(__file__).with_name("own_tokens.txt")
_TARGET_WEIGHT = 4  # what is to be produced counts more than what is only read


@cache
def own_tokens() -> tuple[int, ...]:
    """Ids of the tokens that have own vectors, in the order of those vectors."""
    return tuple(int(word) for word in _FILE.read_text().split())


def most_used(num_examples: int, seed: int = 0) -> list[int]:
    """The most used tokens of freshly generated data, sorted by id; numbers are left to spelling."""
    rng = Random(seed)
    counts: Counter[int] = Counter()
    for _ in range(num_examples):
        ids, num_prompt = example(rng)
        counts.update(ids)
        for token_id in ids[num_prompt:]:
            counts[token_id] += _TARGET_WEIGHT
    table = token_bytes()
    spelled = [
        i for i in counts if i < special.FIRST_SPECIAL and table[i].isdigit() and len(table[i]) > 1
    ]
    for token_id in spelled:
        del counts[token_id]
    return sorted(token_id for token_id, _ in counts.most_common(NUM_OWN))


if __name__ == "__main__":
    _FILE.write_text("\n".join(map(str, most_used(40_000))) + "\n")
