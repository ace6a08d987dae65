"""Sums, differences and products, digit by digit as at school.

Each step of the reasoning uses at most two digits and a carry: `7+5=12` gives the digit 2 and the
carry that the next step adds as `+1`; a column that must borrow is written with ten more.
"""

from __future__ import annotations

from random import Random

from demo.dialogue import Effort, Reply, Split, Step, UserSays
from demo.splits import split_of
from demo.text import encode_fresh

_ADD = (
    "What is {a} + {b}?",
    "What is {a}+{b}?",
    "What's {a} + {b}?",
    "{a}+{b}",
    "{a} + {b}",
    "{a}+{b}=",
    "{a} + {b} =",
    "{a} + {b} = ?",
    "{a}+{b}=?",
    "{a} + {b}?",
    "Add {a} and {b}.",
    "add {a} and {b}",
    "add {b} to {a}",
    "What is {a} plus {b}?",
    "{a} plus {b}",
    "what's {a} plus {b}?",
    "How much is {a} + {b}?",
    "How much is {a} plus {b}?",
    "how much is {a}+{b}",
    "Calculate {a} + {b}.",
    "calculate {a}+{b}",
    "Compute {a} + {b}.",
    "Please compute {a}+{b}.",
    "The sum of {a} and {b}?",
    "What is the sum of {a} and {b}?",
    "Find the sum of {a} and {b}.",
    "Sum {a} and {b}",
    "Can you add {a} and {b}?",
    "Tell me {a} + {b}.",
    "What do {a} and {b} make?",
    "What do you get if you add {b} to {a}?",
    "Work out {a} + {b}",
    "Solve {a} + {b}.",
    "Hi, what is {a} + {b}?",
    "I have {a} apples and get {b} more. How many do I have?",
    "A box holds {a} pens and another holds {b}. How many pens are there?",
    "Quick: {a} + {b}?",
    "Evaluate {a}+{b}",
)
_SUBTRACT = (
    "What is {a} - {b}?",
    "What is {a}-{b}?",
    "What's {a} - {b}?",
    "{a}-{b}",
    "{a} - {b}",
    "{a}-{b}=",
    "{a} - {b} =",
    "{a} − {b}",
    "{a} - {b} = ?",
    "{a} - {b}?",
    "Subtract {b} from {a}.",
    "subtract {b} from {a}",
    "What is {a} minus {b}?",
    "{a} minus {b}",
    "what's {a} minus {b}?",
    "How much is {a} - {b}?",
    "How much is {a} minus {b}?",
    "Calculate {a} - {b}.",
    "calculate {a}-{b}",
    "Compute {a} - {b}.",
    "Please compute {a}-{b}.",
    "Take {b} away from {a}.",
    "What is the difference of {a} and {b}?",
    "Tell me {a} - {b}.",
    "What do you get if you take {b} from {a}?",
    "Work out {a} - {b}",
    "Solve {a} - {b}.",
    "Hi, what is {a} - {b}?",
    "I have {a} apples and give {b} away. How many are left?",
    "Quick: {a} - {b}?",
    "Evaluate {a}-{b}",
)
_MULTIPLY = (
    "What is {a} * {b}?",
    "What is {a}*{b}?",
    "{a}*{b}",
    "{a} * {b}",
    "{a} x {b}",
    "{a} × {b}",
    "What is {a} × {b}?",
    "What is {a} x {b}?",
    "What is {a} times {b}?",
    "{a} times {b}",
    "How much is {a} times {b}?",
    "Multiply {a} by {b}.",
    "multiply {a} and {b}",
    "What is the product of {a} and {b}?",
    "Calculate {a} * {b}.",
    "{a}*{b}=",
    "{a} * {b} = ?",
)
_PLUS_MORE = (
    "plus {b}?",
    "And plus {b}?",
    "plus {b}",
    "+ {b}",
    "Now add {b}.",
    "add {b} to that",
    "And {b} more?",
    "Add {b} more.",
)
_MINUS_MORE = (
    "minus {b}?",
    "And minus {b}?",
    "minus {b}",
    "- {b}",
    "Now subtract {b}.",
    "subtract {b} from that",
    "And {b} less?",
)
_COLUMNS = ("Ones", "Tens", "Hundreds", "Thousands")


def dialogue(rng: Random, split: Split) -> list[Step]:
    """One exercise, at times with another that starts from its result."""
    if rng.random() < 0.12:
        return [_multiplication(rng)]
    plus = rng.random() < 0.5
    a, b = operands(rng, split, plus)
    steps = [ask(rng, a, b, plus)]
    result = a + b if plus else a - b
    if rng.random() < 0.25 and 0 <= result <= 999:
        plus = rng.random() < 0.5
        more = rng.randint(1, 999) if rng.random() < 0.3 else rng.randint(1, 99)
        steps.append(exercise(rng.choice(_PLUS_MORE if plus else _MINUS_MORE), result, more, plus))
    return steps


def operands(
    rng: Random, split: Split, plus: bool, digits: tuple[int, int] | None = None
) -> tuple[int, int]:
    """Two numbers of up to three digits whose exercise lies on one side of the split."""
    while True:
        lengths = digits or (rng.choice((1, 2, 2, 3, 3, 3)), rng.choice((1, 2, 2, 3, 3, 3)))
        a, b = (rng.randint(10 ** (n - 1) if n > 1 else 0, 10**n - 1) for n in lengths)
        if digits is None and rng.random() < 0.08:  # near neighbours need every digit compared
            b = min(999, max(0, a + rng.randint(-9, 9)))
        if split_of("+" if plus else "-", a, b) == split:
            return a, b


def ask(rng: Random, a: int, b: int, plus: bool) -> Step:
    """The step that asks for a + b or a - b in some phrasing."""
    return exercise(rng.choice(_ADD if plus else _SUBTRACT), a, b, plus)


def exercise(template: str, a: int, b: int, plus: bool) -> Step:
    """The step that asks for a + b or a - b."""
    text = template.format(a=a, b=b)
    result = a + b if plus else a - b
    sign = "+" if plus else "-"

    def reply(effort: Effort) -> Reply:
        analysis = _reasoning(effort, a, b, plus)
        return Reply(encode_fresh(analysis), encode_fresh(f"{a} {sign} {b} = {result}."))

    return Step(
        UserSays(text, encode_fresh(text)), reply, "addition" if plus else "subtraction", result
    )


def _multiplication(rng: Random) -> Step:
    a, b = rng.randint(0, 12), rng.randint(0, 12)
    text = rng.choice(_MULTIPLY).format(a=a, b=b)

    def reply(effort: Effort) -> Reply:
        analysis = {
            "low": f"{a}*{b}={a * b}",
            "medium": f"I know this from the table: {a}*{b}={a * b}",
            "high": f"I know this from the table: {a}*{b}={a * b}. Turned around it is {b}*{a}={a * b}, the same.",
        }[effort]
        return Reply(encode_fresh(analysis), encode_fresh(f"{a} * {b} = {a * b}."))

    return Step(UserSays(text, encode_fresh(text)), reply, "multiplication", a * b)


def _reasoning(effort: Effort, a: int, b: int, plus: bool) -> str:
    result = a + b if plus else a - b
    compared = "" if plus else _comparison(a, b)
    large, small = max(a, b), min(a, b)
    columns = _sums(a, b) if plus else _differences(large, small)
    if effort == "low":
        return "; ".join([*([compared] if compared else []), *columns, str(result)])
    words = [f"I add {a} and {b}." if plus else f"I take {b} from {a}. Digits: {compared}."]
    if a < b and not plus:
        words.append("The second is larger, so I turn them around and negate.")
    words += [f"{name}: {column}." for name, column in zip(_COLUMNS, columns, strict=False)]
    words.append(f"That gives {result}.")
    if effort == "high":
        # The check runs backwards: what was taken away is put back, what was added is compared.
        words.append(f"Check: {'; '.join(_check(a, b, plus))}. It is right.")
    return " ".join(words)


def _check(a: int, b: int, plus: bool) -> list[str]:
    if plus:
        return [*_differences(a + b, b), str(a)]
    large, small = max(a, b), min(a, b)
    return [*_sums(large - small, small), str(large)]


def _comparison(a: int, b: int) -> str:
    """Digit against digit from the left until they differ."""
    width = max(len(str(a)), len(str(b)))
    shown: list[str] = []
    for left, right in zip(str(a).zfill(width), str(b).zfill(width), strict=True):
        shown.append(f"{left}{'=' if left == right else '<' if left < right else '>'}{right}")
        if left != right:
            break
    return " ".join(shown)


def _sums(a: int, b: int) -> list[str]:
    columns: list[str] = []
    carry = 0
    for left, right in _digit_pairs(a, b):
        total = left + right + carry
        columns.append(f"{left}+{right}{'+1' if carry else ''}={total}")
        carry = total // 10
    return columns


def _differences(a: int, b: int) -> list[str]:
    columns: list[str] = []
    borrow = 0
    for left, right in _digit_pairs(a, b):
        short = left - borrow < right
        columns.append(
            f"{10 * short + left}-{right}{'-1' if borrow else ''}={10 * short + left - borrow - right}"
        )
        borrow = int(short)
    return columns


def _digit_pairs(a: int, b: int) -> list[tuple[int, int]]:
    width = max(len(str(a)), len(str(b)))
    left, right = str(a).zfill(width), str(b).zfill(width)
    return [(int(x), int(y)) for x, y in zip(reversed(left), reversed(right), strict=True)]
