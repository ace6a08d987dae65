"""Of the tests that `pytest --collect-only -q` lists, a few of each function and kind, spread over its cases.

    pytest -q --collect-only tests/kernels | python benchmarks/few_of_each.py 6

A kind is what the words among a case's parameters say; numbers tell cases of a kind apart.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator


def few_of_each(tests: Iterable[str], most: int) -> Iterator[str]:
    """At most so many of each kind, from its first case to its last."""
    kinds: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for test in tests:
        name, _, case = test.partition("[")
        words = [word for word in re.split(r"[-\]]", case) if re.fullmatch(r"[A-Za-z_]+", word)]
        kinds[name, *words].append(test)
    for cases in kinds.values():
        count = min(most, len(cases))
        yield from (cases[at * (len(cases) - 1) // max(1, count - 1)] for at in range(count))


def main() -> None:
    """From standard input to standard output."""
    listed = (line.strip() for line in sys.stdin)
    for test in few_of_each((line for line in listed if "::" in line), int(sys.argv[1])):
        print(test)


if __name__ == "__main__":
    main()
