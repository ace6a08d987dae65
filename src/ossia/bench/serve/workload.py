"""Workloads: prompts of random words, and when they are sent."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ossia.errors import RequestError
from ossia.tokenizer import Tokenizer

_WORD = re.compile(rb" [a-z]{2,}")


@dataclass(frozen=True, slots=True)
class Question:
    """One request.

    Args:
        prompt: Text of the prompt.
        input_tokens: Of it, in the tokenizer of gpt-oss; a chat's template comes on top.
        output_tokens: That are asked for at most.
        at: Seconds after the start at which it is sent.
    """

    prompt: str
    input_tokens: int
    output_tokens: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is asked.

    Args:
        num_prompts: Requests.
        input_len: Tokens of a prompt.
        output_len: Tokens of an answer.
        range_ratio: Lengths are drawn from (1 - ratio) to (1 + ratio) times these, below 1.
        request_rate: Requests a second, with exponential gaps (a Poisson process); inf sends all at
            once.
        seed: Of words, lengths and gaps.

    Raises:
        RequestError: a value is out of range; names the field.
    """

    num_prompts: int
    input_len: int
    output_len: int
    range_ratio: float = 0.0
    request_rate: float = math.inf
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("num_prompts", "input_len", "output_len"):
            if getattr(self, name) < 1:
                raise RequestError(
                    f"{getattr(self, name)} is too few; at least 1", field=name.replace("_", "-")
                )
        if not 0 <= self.range_ratio < 1:
            raise RequestError(f"{self.range_ratio} is not from 0 to below 1", field="range-ratio")
        if not self.request_rate > 0:
            raise RequestError(
                f"{self.request_rate} is no rate; give requests a second, or inf",
                field="request-rate",
            )

    def questions(self) -> list[Question]:
        """All requests, in the order in which they are sent."""
        return list(self._draw(random.Random(self.seed), self.num_prompts))

    def warm_ups(self, number: int) -> list[Question]:
        """Requests of the same kind with other prompts, so that no server has read one before.

        Raises:
            RequestError: a negative number.
        """
        if number < 0:
            raise RequestError(f"{number} is no number of requests", field="warm-ups")
        return list(self._draw(random.Random(f"warm-up {self.seed}"), number))

    def _draw(self, numbers: random.Random, number: int) -> Iterator[Question]:
        words = single_token_words(Tokenizer.o200k_harmony())
        at = 0.0
        for _ in range(number):
            length = self._length(numbers, self.input_len)
            yield Question(
                prompt="".join(numbers.choices(words, k=length)),
                input_tokens=length,
                output_tokens=self._length(numbers, self.output_len),
                at=at,
            )
            if self.request_rate < math.inf:
                at += numbers.expovariate(self.request_rate)

    def _length(self, numbers: random.Random, length: int) -> int:
        low, high = (math.floor(length * (1 + sign * self.range_ratio)) for sign in (-1, 1))
        return numbers.randint(max(1, low), high)


def single_token_words(tokenizer: Tokenizer) -> list[str]:
    """English-looking words with a space before them that are one token each, however they follow.

    Tokens do not span words, so that a text of n of them has n tokens.
    """
    return [token.decode("ascii") for token in tokenizer.ordinary_tokens if _WORD.fullmatch(token)]
