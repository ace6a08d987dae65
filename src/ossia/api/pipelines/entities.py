"""Entities: scores of tokens put together to words and phrases, by transformers' strategies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

STRATEGIES = ("none", "simple", "first", "average", "max")
Scores = npt.NDArray[np.floating[Any]]
AsText = Callable[[Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token with the probability of each label.

    Args:
        name: As tokenizer.json writes it.
        scores: (labels,).
        start: Its first character.
        end: The one behind its last.
        index: Its place among the tokens.
        is_inside: Whether it goes on with a word.
    """

    name: str
    scores: Scores
    start: int
    end: int
    index: int
    is_inside: bool

    def entity(self, labels: Mapping[int, str]) -> dict[str, Any]:
        """The token under its likeliest label."""
        best = int(self.scores.argmax())
        return {
            "entity": labels[best],
            "score": self.scores[best],
            "index": self.index,
            "word": self.name,
            "start": self.start,
            "end": self.end,
        }


def worded(
    tokens: Sequence[ScoredToken], strategy: str, labels: Mapping[int, str], as_text: AsText
) -> list[dict[str, Any]]:
    """Words under one label each.

    Args:
        tokens: Of a text, in order.
        strategy: "first" takes the label of a word's first token, "max" that of the surest one,
            "average" the likeliest on average.
        labels: By number.
        as_text: Makes text of tokens.
    """
    words: list[list[ScoredToken]] = []
    for token in tokens:
        if words and token.is_inside:
            words[-1].append(token)
        else:
            words.append([token])
    return [_word(word, strategy, labels, as_text) for word in words]


def grouped(entities: Sequence[dict[str, Any]], as_text: AsText) -> list[dict[str, Any]]:
    """Neighbours of one label put together; a label that begins with B- begins a phrase."""
    phrases: list[list[dict[str, Any]]] = []
    for entity in entities:
        begins = entity["entity"].startswith("B-")
        if phrases and not begins and _tag(entity) == _tag(phrases[-1][-1]):
            phrases[-1].append(entity)
        else:
            phrases.append([entity])
    return [
        {
            "entity_group": phrase[0]["entity"].split("-", 1)[-1],
            "score": np.mean([entity["score"] for entity in phrase]),
            "word": as_text([entity["word"] for entity in phrase]),
            "start": phrase[0]["start"],
            "end": phrase[-1]["end"],
        }
        for phrase in phrases
    ]


def _tag(entity: Mapping[str, Any]) -> str:
    return str(entity["entity"]).removeprefix("B-" if entity["entity"][:2] == "B-" else "I-")


def _word(
    word: Sequence[ScoredToken], strategy: str, labels: Mapping[int, str], as_text: AsText
) -> dict[str, Any]:
    if strategy == "first":
        scores = word[0].scores
    elif strategy == "max":
        scores = max(word, key=lambda token: token.scores.max()).scores
    else:
        scores = np.mean([token.scores for token in word], axis=0)
    best = int(scores.argmax())
    return {
        "entity": labels[best],
        "score": scores[best],
        "word": as_text([token.name for token in word]),
        "start": word[0].start,
        "end": word[-1].end,
    }
