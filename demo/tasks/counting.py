"""Counting letters, spelling words and measuring their length.

The reasoning repeats the word's own tokens, one a line, and after each its letters; a letter that
counts is followed by the count so far. Every step is a copy or a step of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import NamedTuple

from demo.dialogue import Effort, Reply, Split, Step, UserSays
from demo.text import SPACE, core_of, encode_fresh, fill, has_prefix, join, tokens_at
from demo.words import word_of

_COUNT_TEMPLATES = (
    "How many {ls} are in {w}?",
    "How many {ls} are in {w}?",
    "How many {ls} are there in {w}?",
    "How many {ls} are in the word {w}?",
    "How many {ls} are in the word {w}?",
    "How many {ls} are there in the word {w}?",
    "How many {ls} in {w}?",
    "how many {ls} in {w}",
    "how many {ls} are in {w}",
    "How many {ls} does {w} have?",
    "How many {ls} does the word {w} have?",
    "How many {ls} does {w} contain?",
    "how many {ls} has {w}?",
    "How many {ls} can you find in {w}?",
    "How many {ls} do you see in the word {w}?",
    "Count the {ls} in {w}.",
    "Count the {ls} in the word {w}.",
    "Count {ls} in {w}",
    "count the {ls} in {w}",
    "Please count the {ls} in {w}.",
    "Can you count the {ls} in {w}?",
    "Could you count how many {ls} are in {w}?",
    "Tell me how many {ls} are in {w}.",
    "Tell me the number of {ls} in {w}.",
    "What is the number of {ls} in {w}?",
    "What's the number of {ls} in the word {w}?",
    "Number of {ls} in {w}?",
    "The number of {ls} in {w} is what?",
    "Find the number of {ls} in the word {w}.",
    "I want to know how many {ls} are in {w}.",
    "I wonder how many {ls} are in the word {w}.",
    "Do you know how many {ls} are in {w}?",
    "In {w}, how many {ls} are there?",
    "In the word {w}, how many {ls} do you count?",
    "For the word {w}, count the {ls}.",
    "Take the word {w}. How many {ls} does it have?",
    "Look at {w} and count its {ls}.",
    "Given the word {w}, how many {ls} are there?",
    "Hi! How many {ls} are in {w}?",
    "Hello, how many {ls} are there in the word {w}?",
    "Quick question: how many {ls} are in {w}?",
    "Think carefully. How many {ls} are in {w}?",
    "Let's count: how many {ls} are in the word {w}?",
    "{w}: how many {ls}?",
    "{w} - how many {ls} are in it?",
    "How often does {l} appear in {w}?",
    "How often does {l} occur in the word {w}?",
    "How many times does {l} appear in {w}?",
    "How many times does {l} occur in {w}?",
    "How many times is {l} used in {w}?",
    "How many times do you see {l} in the word {w}?",
    "How many times can you find {l} in {w}?",
    "Count how often {l} appears in {w}.",
    "Count the occurrences of {l} in {w}.",
    "Number of occurrences of {l} in {w}?",
    "In {w}, how often does {l} appear?",
    "Does {w} contain {l}, and how often?",
    "Which count of {l} does {w} have?",
    "Please tell me how many times {l} is in {w}.",
    "Say how many times {l} appears in {w}.",
)
_PLURALS = (
    "{c}s",
    "{c}s",
    "{c}s",
    "{c}'s",
    "{c}'s",
    "{C}s",
    "{C}'s",
    "'{c}'s",
    "letters {c}",
    "letter {c}",
    '"{c}"s',
)
_SINGLES = (
    "the letter {c}",
    "the letter {c}",
    "the letter '{c}'",
    "{c}",
    "'{c}'",
    '"{c}"',
    "letter {C}",
    "the letter {C}",
)
_QUOTES = (
    ("'", "'"),
    ("'", "'"),
    ('"', '"'),
    ("“", "”"),
    ("‘", "’"),
    ("`", "`"),
    ("", ""),
    ("", ""),
    ("", ""),
)
_SAME_LETTER = (
    "And in {w}?",
    "And in the word {w}?",
    "What about {w}?",
    "and {w}?",
    "And how many are in {w}?",
    "Now the same for {w}.",
)
_SAME_WORD = (
    "And how many {ls}?",
    "And the {ls}?",
    "What about {ls}?",
    "and how many {ls} are there?",
    "Now count the {ls}.",
    "And how often does {l} appear?",
)
_SPELL_TEMPLATES = (
    "Spell {w}.",
    "Spell the word {w}.",
    "How do you spell {w}?",
    "How is {w} spelled?",
    "Please spell {w}.",
    "Can you spell {w}?",
    "Spell out {w}",
    "Spell {w} letter by letter.",
    "What letters are in {w}?",
)
_LENGTH_TEMPLATES = (
    "How many letters are in {w}?",
    "How many letters does {w} have?",
    "How long is the word {w}?",
    "Count the letters in {w}.",
    "How many letters are in the word {w}?",
    "What is the length of {w}?",
    "How many characters does the word {w} have?",
    "Number of letters in {w}?",
)


class _Place(NamedTuple):
    """A word's tokens in a prompt, and the quotes around it."""

    pieces: Sequence[int]
    opening: str
    closing: str


def dialogue(rng: Random, split: Split) -> list[Step]:
    """A question about letters, at times with a question that leans on it."""
    kind = rng.random()
    if kind < 0.10:
        return [_spelling(rng, split)]
    if kind < 0.18:
        return [_length(rng, split)]
    return question(rng, split, follow_up=rng.random() < 0.3)


def question(rng: Random, split: Split, follow_up: bool) -> list[Step]:
    """Counting one letter in a word, and perhaps the same letter or word again."""
    word = word_of(rng, split)
    if rng.random() < 0.05:
        word = f"{word} {word_of(rng, split)}"
    letter = _letter_for(rng, word)
    first, place = _ask(rng, rng.choice(_COUNT_TEMPLATES), word, letter)
    steps = [_count_step(first, place, word, letter)]
    if not follow_up:
        return steps
    if rng.random() < 0.6:
        word = word_of(rng, split)
        second, place = _ask(rng, rng.choice(_SAME_LETTER), word, letter)
    else:
        letter = _letter_for(rng, word)
        second, _ = _ask(rng, rng.choice(_SAME_WORD), word, letter)
    return [*steps, _count_step(second, place, word, letter)]


def _spelling(rng: Random, split: Split) -> Step:
    word = word_of(rng, split)
    prompt, place = _ask(rng, rng.choice(_SPELL_TEMPLATES), word, "")

    def reply(effort: Effort) -> Reply:
        lines = _lines(place.pieces, [""] * len(word))
        analysis = _reasoning(effort, "I spell the word", lines, "That is the word.")
        return Reply(analysis, encode_fresh(" ".join(word)))

    return Step(prompt, reply, "spelling", " ".join(word))


def _length(rng: Random, split: Split) -> Step:
    word = word_of(rng, split)
    prompt, place = _ask(rng, rng.choice(_LENGTH_TEMPLATES), word, "")

    def reply(effort: Effort) -> Reply:
        lines = _lines(place.pieces, [str(idx + 1) for idx in range(len(word))])
        analysis = _reasoning(effort, "I count all letters", lines, f"That makes {len(word)}.")
        return Reply(analysis, join(f"There are {len(word)} letters", *_mention(place)))

    return Step(prompt, reply, "length", len(word))


def _count_step(prompt: UserSays, place: _Place, word: str, letter: str) -> Step:
    letters = word.replace(" ", "")
    counts = list(accumulate(int(found == letter) for found in letters))
    marks = [str(counts[idx]) if found == letter else "" for idx, found in enumerate(letters)]

    def reply(effort: Effort) -> Reply:
        lines = _lines(place.pieces, marks)
        analysis = _reasoning(effort, f"I count {letter}", lines, f"That makes {counts[-1]}.")
        verb, noun = ("is", letter) if counts[-1] == 1 else ("are", f"{letter}s")
        return Reply(analysis, join(f"There {verb} {counts[-1]} {noun}", *_mention(place)))

    return Step(prompt, reply, "counting", counts[-1])


def _letter_for(rng: Random, word: str) -> str:
    if rng.random() < 0.8:
        return rng.choice(word.replace(" ", ""))
    return rng.choice("abcdefghijklmnopqrstuvwxyz")


def _ask(rng: Random, template: str, word: str, letter: str) -> tuple[UserSays, _Place]:
    opening, closing = ("", "") if template.startswith("{w}") else rng.choice(_QUOTES)
    case = rng.random()
    shown = word.upper() if case < 0.04 else word.capitalize() if case < 0.16 else word
    around = template.replace("{w}", f"{opening}{{w}}{closing}")
    names = {
        "ls": rng.choice(_PLURALS).format(c=letter, C=letter.upper()),
        "l": rng.choice(_SINGLES).format(c=letter, C=letter.upper()),
        "w": shown,
    }
    text, spans = fill(around, names)
    ids = encode_fresh(text)
    pieces = tokens_at(text, ids, spans["w"]) if "w" in spans else ()
    return UserSays(text, ids), _Place(pieces, opening, closing)


def _lines(pieces: Sequence[int], marks: Sequence[str]) -> list[int]:
    """Each token of the word, then its letters one by one, each with its mark."""
    ids: list[int] = []
    position = 0
    for idx, piece in enumerate(piece for piece in pieces if piece != SPACE):
        letters = core_of(piece).lower()
        own_marks = marks[position : position + len(letters)]
        spelled = "".join(
            f" {letter}{mark}" for letter, mark in zip(letters, own_marks, strict=True)
        )
        ids += join("\n" if idx else "", [piece], f":{spelled}")
        position += len(letters)
    return ids


def _reasoning(effort: Effort, opening: str, lines: list[int], closing: str) -> list[int]:
    if effort == "low":
        return join(f"{opening}.\n", lines)
    once = join(f"{opening}, one piece of the word after the other.\n", lines, f"\n{closing}")
    if effort == "medium":
        return once
    return join(
        once, " I do it once more to be sure.\n", lines, f"\n{closing} Both times the same."
    )


def _mention(place: _Place) -> tuple[str | Sequence[int], ...]:
    """How an answer names the word: with the tokens and quotes it came in."""
    if place.opening:
        return (f" in the word {place.opening}", place.pieces, f"{place.closing}.")
    return (" in", place.pieces, ".") if has_prefix(place.pieces[0]) else (".",)
