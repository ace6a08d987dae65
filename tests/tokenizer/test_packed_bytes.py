from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia.tokenizer import Tokenizer
from ossia.tokenizer.packed_bytes import PackedBytes


@given(st.lists(st.binary(max_size=5)))
def test_it_gives_back_what_it_was_given(strings):
    packed = PackedBytes(iter(strings))
    assert list(packed) == strings
    assert len(packed) == len(strings)
    assert [packed[index] for index in range(len(strings))] == strings
    with pytest.raises(IndexError):
        packed[len(strings)]


def test_decoding_keeps_no_object_for_each_token():
    tokenizer = Tokenizer.o200k_harmony()
    first = tokenizer.token_bytes(150_000)
    assert tokenizer.token_bytes(150_000) == first
    assert tokenizer.token_bytes(150_000) is not first
    assert set(vars(tokenizer)) == {"_backend", "_is_packaged", "ordinary_tokens"}
