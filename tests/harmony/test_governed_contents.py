"""Contents with masks of their own: whatever the header, the mask has its say."""

from __future__ import annotations

import pytest

from ossia.harmony import FINAL, HeaderGrammar, HeaderMask, HeaderRules, governable
from ossia.tokenizer import Tokenizer, special

RULES = HeaderRules(functions=("functions.f", "functions.g"), builtin_tools=("python",))
CALLS_OF_F = [
    "<|channel|>commentary to=functions.f<|message|>",
    "<|channel|>commentary to=functions.f json<|message|>",
    "<|channel|>commentary to=functions.f code<|message|>",
    "<|channel|>commentary to=functions.f <|constrain|>json<|message|>",
    " to=functions.f<|channel|>commentary<|message|>",
    " to=functions.f<|channel|>commentary json<|message|>",
    " to=functions.f<|channel|>commentary<|constrain|>json<|message|>",
]
ANSWERS = ["<|channel|>final<|message|>", "<|channel|>final <|constrain|>json<|message|>"]
FREE = [
    "<|channel|>analysis<|message|>",
    "<|channel|>commentary<|message|>",
    "<|channel|>commentary to=functions.g<|message|>",
    "<|channel|>analysis to=python code<|message|>",
]
A, B = 32, 33  # two ordinary tokens


class OneAOneB:
    """The content "AB"."""

    made: list[str]

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.left = [A, B]

    @property
    def may_end(self) -> bool:
        return not self.left

    def allowed(self) -> bytes:
        bits = sum(1 << token for token in self.left[:1])
        return bits.to_bytes(25_000, "little")

    def accept(self, token_id: int) -> None:
        assert self.left
        assert token_id == self.left.pop(0)


def _mask(tokenizer: Tokenizer, header: str, made: list[str] | None = None) -> HeaderMask:
    def make(subject: str) -> OneAOneB:
        if made is not None:
            made.append(subject)
        return OneAOneB(subject)

    mask = HeaderMask(HeaderGrammar(tokenizer, RULES, {FINAL, "functions.f"}), make)
    for token in tokenizer.encode_with_special(header):
        assert _ids(mask) == [token] or token in _ids(mask)
        mask.accept(token)
    assert mask.in_content
    return mask


def _ids(mask: HeaderMask) -> list[int]:
    allowed = mask.allowed()
    assert allowed is not None
    return [
        byte * 8 + bit
        for byte, value in enumerate(bytes(allowed))
        if value
        for bit in range(8)
        if value >> bit & 1
    ]


@pytest.mark.parametrize("header", [*CALLS_OF_F, *ANSWERS])
def test_no_way_to_write_the_header_leads_past_the_mask(tokenizer: Tokenizer, header: str) -> None:
    made: list[str] = []
    mask = _mask(tokenizer, header, made)
    subject, end = (FINAL, special.RETURN) if "final" in header else ("functions.f", special.CALL)
    assert made == [subject]
    assert _ids(mask) == [A]
    mask.accept(A)
    assert _ids(mask) == [B]
    mask.accept(B)
    assert _ids(mask) == [end], "what is complete can only end"
    mask.accept(end)
    assert _ids(mask) == [special.START]
    assert not mask.in_content


@pytest.mark.parametrize("header", FREE)
def test_other_contents_are_free(tokenizer: Tokenizer, header: str) -> None:
    made: list[str] = []
    mask = _mask(tokenizer, header, made)
    assert len(_ids(mask)) == special.FIRST_SPECIAL + 1
    assert made == []


def test_each_content_begins_anew(tokenizer: Tokenizer) -> None:
    made: list[str] = []
    mask = _mask(tokenizer, CALLS_OF_F[0], made)
    again = tokenizer.encode_with_special("<|start|>assistant" + ANSWERS[0])
    for token in [A, B, special.CALL, *again]:
        mask.accept(token)
    assert made == ["functions.f", FINAL]
    assert _ids(mask) == [A]


def test_a_content_that_was_left_out_of_order_is_over(tokenizer: Tokenizer) -> None:
    mask = _mask(tokenizer, ANSWERS[0])
    mask.accept(special.MESSAGE)
    assert mask.allowed() is None
    mask.accept(A)
    mask.accept(special.END)
    assert _ids(mask) == [special.START]


def test_sets_of_governed_contents_are_not_taken_for_ones_that_come_again(
    tokenizer: Tokenizer,
) -> None:
    assert isinstance(_mask(tokenizer, ANSWERS[0]).allowed(), memoryview)
    assert isinstance(_mask(tokenizer, FREE[0]).allowed(), bytes)


def test_what_can_be_governed_follows_from_the_rules() -> None:
    assert governable(RULES) == {FINAL, "functions.f", "functions.g", "python"}
    assert governable(HeaderRules(functions=("functions.f",), tool_choice="none")) == {FINAL}
    only = HeaderRules(functions=("functions.f", "functions.g"), tool_choice="functions.g")
    assert governable(only) == {"functions.g"}
