"""Coverage-guided fuzzing of the parser (needs `pip install atheris`).

    cd tests && python -m fuzz.guided -max_total_time=600 -max_len=200 -artifact_prefix=/tmp/

Arguments are libFuzzer's. Bytes of the input stand for control tokens, header words, or ids.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["ossia.harmony"]):
    from fuzz.parser import CONTROLS, WORDS
    from ossia.harmony import Role
    from ossia.tokenizer import Tokenizer
    from support.harmony_accounting import follow

_TOKENIZER = Tokenizer.o200k_harmony()
_PIECES = [*([token] for token in CONTROLS), *map(_TOKENIZER.encode, WORDS)]
_ROLES = [None, *Role]


def as_tokens(data: bytes) -> list[int]:
    """Token ids that an input stands for."""
    tokens: list[int] = []
    place = 0
    while place < len(data):
        code = data[place]
        place += 1
        if code < len(_PIECES):
            tokens += _PIECES[code]
        else:
            tokens.append(int.from_bytes(data[place : place + 3], "big") % 201_100)
            place += 3
    return tokens


def one_input(data: bytes) -> None:
    """Parse one input; an exception is a finding."""
    if data:
        follow(_TOKENIZER, as_tokens(data[1:]), _ROLES[data[0] % len(_ROLES)])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
