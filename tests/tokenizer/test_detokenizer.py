"""Pieces of a stream, joined, are the decoding of the whole, and no piece is half a character."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ossia.tokenizer import IncrementalDetokenizer, Tokenizer, special

token_ids = st.one_of(
    st.integers(0, 255),  # single bytes, so that much of it is no UTF-8
    st.integers(0, special.VOCAB_SIZE - 1),
    st.sampled_from([special.START, special.END]),
)


@settings(max_examples=300)
@given(st.lists(token_ids), st.booleans())
def test_pieces_joined_are_the_whole(packaged: Tokenizer, ids: list[int], shown: bool) -> None:
    detokenizer = IncrementalDetokenizer(packaged, show_special=shown)
    pieces = [detokenizer.push(token_id) for token_id in ids] + [detokenizer.flush()]
    assert "".join(pieces) == packaged.decode(ids, skip_special=not shown)


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_text_never_comes_in_half_characters(packaged: Tokenizer, text: str) -> None:
    detokenizer = IncrementalDetokenizer(packaged)
    byte_ids = {packaged.token_bytes(token_id): token_id for token_id in range(256)}
    shown = ""
    for byte in text.encode():
        shown += detokenizer.push(byte_ids[bytes([byte])])
        assert text.startswith(shown)
    assert shown == text
    assert detokenizer.flush() == ""


def test_flushing_makes_it_as_new(packaged: Tokenizer) -> None:
    detokenizer = IncrementalDetokenizer(packaged)
    detokenizer.push(packaged.encode("🫠")[0])
    assert detokenizer.flush() == "�"
    assert detokenizer.push(packaged.encode("a")[0]) == "a"
