"""Recalling small facts, with follow-ups that name only the new subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from demo import facts
from demo.capitals import CAPITALS
from demo.dialogue import Effort, Reply, Split, Step, UserSays
from demo.text import encode, encode_fresh

_CAPITAL_ASKS = (
    "What is the capital of {x}?",
    "What's the capital of {x}?",
    "what is the capital of {x}",
    "Capital of {x}?",
    "capital of {x}",
    "Which city is the capital of {x}?",
    "Name the capital of {x}.",
    "Tell me the capital of {x}.",
    "The capital of {x} is?",
    "Do you know the capital of {x}?",
    "Hi, what is the capital of {x}?",
    "What city is {x}'s capital?",
)
_COLOUR_ASKS = (
    "What colour is {x}?",
    "What color is {x}?",
    "what color is {x}",
    "Which colour does {x} have?",
    "What is the colour of {x}?",
    "What is the color of {x}?",
    "Tell me the color of {x}.",
)
_OPPOSITE_ASKS = (
    "What is the opposite of {x}?",
    "What is the opposite of '{x}'?",
    "Opposite of {x}?",
    "what's the opposite of {x}",
    "Name the opposite of {x}.",
    "Give me the opposite of {x}.",
    'What is the opposite of "{x}"?',
)
_MORE = ("And of {x}?", "And {x}?", "And for {x}?", "What about {x}?", "and {x}?", "How about {x}?")


@dataclass(frozen=True, slots=True)
class Family:
    """Facts of one kind: how to ask for x, and the sentence that answers."""

    asks: Sequence[str]
    answer: str
    known: dict[str, str]
    more: Sequence[str] = _MORE


@cache
def families() -> tuple[Family, ...]:
    """Every kind of fact that has more than one member."""
    return (
        Family(_CAPITAL_ASKS, "The capital of {x} is {y}.", CAPITALS),
        Family(_CAPITAL_ASKS, "The capital of {x} is {y}.", CAPITALS),
        Family(_COLOUR_ASKS, "The usual colour of {x} is {y}.", facts.COLOURS),
        Family(_OPPOSITE_ASKS, "The opposite of {x} is {y}.", facts.OPPOSITES),
        Family(
            (
                "What sound does {x} make?",
                "What does {x} do when it makes a sound?",
                "Which sound does {x} make?",
                "what noise does {x} make",
            ),
            "It {y}.",
            facts.SOUNDS,
            ("And {x}?", "What about {x}?", "and {x}?"),
        ),
        Family(
            (
                "What is a baby {x} called?",
                "What do you call a baby {x}?",
                "What is the young of a {x} called?",
                "What's a young {x} called?",
            ),
            "A young {x} is called {y}.",
            facts.BABIES,
            ("And a baby {x}?", "And a young {x}?", "What about a {x}?"),
        ),
        Family(
            (
                "How many legs does {x} have?",
                "How many legs has {x}?",
                "how many legs does {x} have",
            ),
            "It has {y} legs.",
            {key: str(value) for key, value in facts.LEGS.items()},
            ("And {x}?", "What about {x}?", "and {x}?"),
        ),
        Family(
            (
                "What is the chemical symbol of {x}?",
                "What is the symbol for {x}?",
                "Chemical symbol of {x}?",
                "Which symbol stands for {x}?",
            ),
            "The symbol of {x} is {y}.",
            facts.SYMBOLS,
        ),
        *_calendar(),
    )


def _calendar() -> list[Family]:
    after_day = {day: facts.DAYS[(idx + 1) % 7] for idx, day in enumerate(facts.DAYS)}
    before_day = {day: facts.DAYS[idx - 1] for idx, day in enumerate(facts.DAYS)}
    after_month = {month: facts.MONTHS[(idx + 1) % 12] for idx, month in enumerate(facts.MONTHS)}
    before_month = {month: facts.MONTHS[idx - 1] for idx, month in enumerate(facts.MONTHS)}
    lengths = {month: str(days) for month, days in facts.MONTH_LENGTHS.items()}
    planets = {facts.ORDINALS[idx]: planet for idx, planet in enumerate(facts.PLANETS)}
    months = {facts.ORDINALS[idx]: month for idx, month in enumerate(facts.MONTHS)}
    after = ("And after {x}?", "and {x}?", "What comes after {x}?")
    before = ("And before {x}?", "and {x}?", "What comes before {x}?")
    ordinal = ("And the {x}?", "And the {x} one?", "What about the {x}?")
    return [
        Family(
            ("What day comes after {x}?", "Which day follows {x}?", "What is the day after {x}?"),
            "After {x} comes {y}.",
            after_day,
            after,
        ),
        Family(
            (
                "What day comes before {x}?",
                "Which day is before {x}?",
                "What is the day before {x}?",
            ),
            "Before {x} comes {y}.",
            before_day,
            before,
        ),
        Family(
            (
                "What month comes after {x}?",
                "Which month follows {x}?",
                "What is the month after {x}?",
            ),
            "After {x} comes {y}.",
            after_month,
            after,
        ),
        Family(
            (
                "What month comes before {x}?",
                "Which month is before {x}?",
                "What is the month before {x}?",
            ),
            "Before {x} comes {y}.",
            before_month,
            before,
        ),
        Family(
            (
                "How many days does {x} have?",
                "How many days are in {x}?",
                "How long is {x} in days?",
            ),
            "{x} has {y} days.",
            lengths,
            ("And {x}?", "What about {x}?"),
        ),
        Family(
            (
                "What is the {x} planet?",
                "Which planet is the {x} from the sun?",
                "What is the {x} planet from the sun?",
            ),
            "The {x} planet is {y}.",
            planets,
            ordinal,
        ),
        Family(
            (
                "What is the {x} month?",
                "Which month is the {x}?",
                "What is the {x} month of the year?",
            ),
            "The {x} month is {y}.",
            months,
            ordinal,
        ),
    ]


def dialogue(rng: Random, split: Split) -> list[Step]:
    """One fact, at times two of a kind. Facts cannot be held out: who has not seen one, cannot know it."""
    del split
    if rng.random() < 0.2:
        asks, answer = rng.choice(list(facts.SINGLE.items()))
        return [_step(_roughened(rng, rng.choice(asks)), answer)]
    family = rng.choice(families())
    first, second = rng.sample(sorted(family.known), 2)
    steps = [
        _step(_roughened(rng, rng.choice(family.asks).format(x=first)), _answer(family, first))
    ]
    if rng.random() < 0.35:
        steps.append(_step(rng.choice(family.more).format(x=second), _answer(family, second)))
    return steps


def _answer(family: Family, subject: str) -> str:
    sentence = family.answer.format(x=subject, y=family.known[subject])
    return sentence[0].upper() + sentence[1:]


def _roughened(rng: Random, question: str) -> str:
    """Questions as people type them: without the mark, in lower case, with a greeting before."""
    chance = rng.random()
    if chance < 0.08:
        return question.rstrip("?.")
    if chance < 0.14:
        return question.lower()
    if chance < 0.18:
        return f"Hello! {question}"
    return question


def _step(question: str, answer: str) -> Step:
    def reply(effort: Effort) -> Reply:
        analysis = {
            "low": "I know this.",
            "medium": f"The user asks for a small fact that I know. {answer}",
            "high": f"The user asks for a small fact that I know. {answer} I am sure, so I answer in one sentence: {answer}",
        }[effort]
        return Reply(encode_fresh(analysis), list(encode(answer)))

    return Step(UserSays(question, encode_fresh(question)), reply, "facts", answer)
