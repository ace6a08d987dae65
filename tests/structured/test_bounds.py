"""Bounds at the ends of what can be counted: enforced, and never wider than they were given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia.errors import RequestError
from ossia.structured import Grammar
from ossia.structured.bounds import narrow_bounds
from ossia.structured.cache import GrammarCache
from ossia.structured.mask import GrammarMask
from ossia.tokenizer import Tokenizer

INT64 = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
WRITABLE = [
    (INT64, ["0", "-7", str(2**63 - 1), str(1024 - 2**63)], [str(2**63), str(-(2**63) - 1)]),
    ({"type": "integer", "minimum": -(2**63) + 1}, ["12", "-12", str(10**30)], [str(-(10**19))]),
    ({"type": "number", "minimum": 0, "maximum": 1e19}, ["0", "0.5", "9"], ["-1"]),
    ({"type": "number", "minimum": 1e-300, "maximum": 1e300}, ["0.001", "1", "123.5"], ["0", "-1"]),
    ({"type": "number", "maximum": 1e308}, ["5", "-5.5"], []),
    ({"type": "number", "minimum": 1e18}, [str(10**18), str(2 * 10**18)], ["1", "-1"]),
    ({"type": "integer", "maximum": -(2**62)}, [str(-(2**62))], ["0", str(1 - 2**62)]),
    ({"type": "integer", "minimum": 2**53 + 1}, [str(2**53 + 2)], [str(2**53)]),
    ({"anyOf": [INT64, {"type": "null"}]}, ["null", "3"], ["true"]),
    ({"$ref": "#/components/a~1b", "components": {"a/b": INT64}}, ["3", str(2**63 - 1)], ["true"]),
]


def _fits(mask: GrammarMask, tokenizer: Tokenizer, text: str) -> bool:
    for token in tokenizer.encode(text):
        if not mask.allowed()[token // 8] >> token % 8 & 1:
            return False
        mask.accept(token)
    return mask.may_end


@pytest.mark.parametrize(("schema", "good", "bad"), WRITABLE, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("strict", [True, False])
def test_numbers_within_and_beyond(
    tokenizer: Tokenizer,
    cache: GrammarCache,
    schema: dict[str, object],
    good: list[str],
    bad: list[str],
    strict: bool,
) -> None:
    grammar = cache.compiled(Grammar.json_schema(schema, strict=strict))
    assert [text for text in good if not _fits(GrammarMask(grammar), tokenizer, text)] == []
    assert [text for text in bad if _fits(GrammarMask(grammar), tokenizer, text)] == []


@pytest.mark.parametrize(
    ("bounds", "name"),
    [
        ({"minimum": 1e20}, "minimum"),
        ({"exclusiveMaximum": -(10**30)}, "exclusiveMaximum"),
        ({"minimum": 1e-80, "maximum": 1e-70}, "minimum"),
    ],
)
def test_what_cannot_be_counted_is_named_or_passed_over(
    tokenizer: Tokenizer, cache: GrammarCache, bounds: dict[str, float], name: str
) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "number", **bounds}}}
    with pytest.raises(RequestError, match=rf"uses '{name}' \(at #/properties/a\) with") as refusal:
        cache.compiled(Grammar.json_schema(schema))
    assert "regex" not in str(refusal.value)
    loose = cache.compiled(Grammar.json_schema(schema, strict=False))
    assert _fits(GrammarMask(loose), tokenizer, '{"a": 0}')


_BOUND = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.sampled_from([2**63, 2**63 - 1, 2**53 + 1, 10**18, 1e-70, -1e-70, 0]),
)


@given(
    st.fixed_dictionaries({"type": st.sampled_from(["integer", "number"])}),
    st.dictionaries(
        st.sampled_from(["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"]), _BOUND
    ),
    _BOUND,
)
def test_narrowed_bounds_hold_no_number_that_the_given_ones_do_not(
    kind: dict[str, object], bounds: dict[str, float], number: float
) -> None:
    narrowed = {**kind, **bounds}
    if narrow_bounds(narrowed) is None and _holds(narrowed, number):
        assert _holds(bounds, number)


def _holds(bounds: dict[str, object], number: float) -> bool:
    return not (
        number < bounds.get("minimum", number)
        or number > bounds.get("maximum", number)
        or number <= bounds.get("exclusiveMinimum", -float("inf"))
        or number >= bounds.get("exclusiveMaximum", float("inf"))
    )
