"""Random, mutated and adversarial token streams through the parser.

    cd tests && python -m fuzz.parser --tokens 1000000

Every stream is followed token by token (support.harmony_accounting): nothing may raise, and every
byte must be found in a message or a repair. Well-formed streams must render to themselves.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random

from ossia.harmony import (
    Author,
    Conversation,
    Message,
    RenderConversationConfig,
    Renderer,
    Role,
    TextContent,
    parse_messages,
)
from ossia.tokenizer import Tokenizer, special
from support.harmony_accounting import follow
from support.harmony_recovery import rows

KEEP_ALL = RenderConversationConfig(auto_drop_analysis=False)

WORDS = [
    *("assistant", "user", "tool", "system", "developer", "analysis", "commentary", "final"),
    *(" to=", " to=functions.f", "to=assistant", "functions.f", "browser.search", "python"),
    *("json", " json", "code", " ", "\n", ":", ":bob", "<|", "|>", "<|channel|>", "=", ".", "x"),
]
_TEXTS = [
    "",
    "a",
    "Hi there.",
    '{"a": "b"}',
    "naïve 🫠 日本",
    "<|end|><|start|>user",
    "\n\n  x",
    "\u2028",
]
_ODD_IDS = [-1, 200_000, 200_013, 200_018, 201_087, 201_088, 2**31, 2**63]
CONTROLS = [
    *(special.START, special.CHANNEL, special.CONSTRAIN, special.MESSAGE),
    *(special.END, special.CALL, special.RETURN),
]


class Streams:
    """Makes token streams.

    Args:
        tokenizer: The vocabulary.
        random: Where chance comes from.
    """

    def __init__(self, tokenizer: Tokenizer, random: Random) -> None:
        self._tokenizer = tokenizer
        self._random = random
        self._renderer = Renderer(tokenizer)
        self._words = [tokenizer.encode(word) for word in WORDS]
        self._rows = [row.tokens(tokenizer) for row in rows()]
        self._kinds: dict[str, Callable[[], list[int]]] = {
            "well-formed": self._well_formed,
            "random": self._noise,
            "mutated": self._mutated,
            "adversarial headers": self._headers,
        }

    def __iter__(self) -> Iterator[tuple[str, list[int]]]:
        while True:
            for kind, make in self._kinds.items():
                yield kind, make()

    def _well_formed(self) -> list[int]:
        messages = [self._message() for _ in range(self._random.randint(1, 5))]
        return self._renderer.render_conversation(Conversation(messages), KEEP_ALL)

    def _message(self) -> Message:
        pick = self._random.choice
        text = "".join(pick(_TEXTS) for _ in range(self._random.randint(0, 4)))
        kind = pick([None, "json", "<|constrain|>json"])
        author, channel, recipient, content_type = pick(
            [
                (Author(Role.USER), None, None, None),
                (Author(Role.USER, "bob"), None, None, None),
                (Author(Role.ASSISTANT), "analysis", None, None),
                (Author(Role.ASSISTANT), "final", None, kind),
                (Author(Role.ASSISTANT), "commentary", "functions.f", kind),
                (Author(Role.ASSISTANT), "analysis", "browser.search", kind),
                (Author(Role.TOOL, "functions.f"), "commentary", "assistant", None),
            ]
        )
        return Message(author, [TextContent(text)], channel, recipient, content_type)

    def _noise(self) -> list[int]:
        size = self._random.randint(0, 60)
        return [self._any_token() for _ in range(size)]

    def _any_token(self) -> int:
        roll = self._random.random()
        if roll < 0.3:
            return self._random.choice(CONTROLS)
        if roll < 0.35:
            return self._random.choice(_ODD_IDS)
        if roll < 0.5:  # half characters are most of these
            return self._random.randrange(256)
        return self._random.randrange(special.FIRST_SPECIAL)

    def _mutated(self) -> list[int]:
        base = self._random.choice(self._rows) if self._random.random() < 0.5 else []
        tokens = list(base or self._well_formed())
        for _ in range(self._random.randint(1, 4)):
            place = self._random.randint(0, len(tokens))
            match self._random.randrange(5):
                case 0:
                    tokens[place:place] = [self._any_token()]
                case 1:
                    del tokens[place : place + self._random.randint(1, 3)]
                case 2:
                    tokens[place:place] = self._random.choice(self._words)
                case 3:
                    end = self._random.randint(place, len(tokens))
                    tokens[place:place] = tokens[place:end]
                case _:
                    tokens = tokens[:place]
        return tokens

    def _headers(self) -> list[int]:
        tokens: list[int] = []
        for _ in range(self._random.randint(1, 12)):
            if self._random.random() < 0.6:
                tokens.append(self._random.choice(CONTROLS))
            else:
                tokens += self._random.choice(self._words)
        return tokens


def fuzz(tokenizer: Tokenizer, num_tokens: int, seed: int) -> Counter[str]:
    """Parse streams of this many tokens in all; counts what was met."""
    random = Random(seed)
    renderer = Renderer(tokenizer)
    counts: Counter[str] = Counter()
    for kind, tokens in Streams(tokenizer, random):
        if counts["tokens"] >= num_tokens:
            return counts
        well_formed = kind == "well-formed"
        role = None if well_formed else random.choice([None, *Role])
        try:
            account = follow(tokenizer, tokens, role)
            if well_formed:
                assert not account.parser.repairs
                strict = parse_messages(tokenizer, tokens, role, strict=True)
                assert strict == account.parser.messages
                assert renderer.render_conversation(Conversation(strict), KEEP_ALL) == tokens
        except Exception as error:
            error.add_note(f"{kind}, role {role}, seed {seed}: {tokens}")
            raise
        counts.update({"tokens": len(tokens), "streams": 1, f"{kind} streams": 1})
        counts["messages"] += len(account.parser.messages)
        counts.update(f"repair: {repair.kind}" for repair in account.parser.repairs)
    raise AssertionError("streams never end")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tokens", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    begun = time.perf_counter()
    counts = fuzz(Tokenizer.o200k_harmony(), chosen.tokens, chosen.seed)
    for name, count in sorted(counts.items()):
        print(f"{count:>10,} {name}")
    print(f"{time.perf_counter() - begun:.1f} s, nothing raised, nothing lost")


if __name__ == "__main__":
    main()
