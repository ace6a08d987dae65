"""Sets of ids on the device: which of them are there, and as what."""

from __future__ import annotations

import pytest
import torch

from ossia.model import token_sets
from ossia.model.token_sets import TokenSets
from support.draws import packed


@pytest.fixture
def sets(monkeypatch: pytest.MonkeyPatch) -> TokenSets:
    monkeypatch.setattr(token_sets, "MOST", 3)
    return TokenSets(20, torch.device("cpu"))


def _rows(sets: TokenSets, places: list[int | None]) -> list[bytes]:
    return [bytes(sets.table[place].tolist()) for place in places if place is not None]


def test_the_last_ones_stay(sets):
    first, second, third, fourth = (bytes([idx, 0, 5]) for idx in range(1, 5))
    places = sets.places([first, None, second, first])
    assert places == [0, None, 1, 0]
    assert _rows(sets, places) == [first, second, first]
    assert sets.places([third, first]) == [2, 0]
    assert sets.places([fourth]) == [1], "the one that was not asked for longest"
    assert sets.places([first, third, fourth]) == [0, 2, 1]
    assert _rows(sets, [0, 1, 2]) == [first, fourth, third]


def test_one_too_many(sets):
    """Nothing is written then."""
    four = [bytes([idx, 0, 7]) for idx in range(4)]
    assert sets.places([*four, None]) is None
    assert not sets.table.any()
    assert sets.places([*four[1:], None, *four[1:]]) == [0, 1, 2, None, 0, 1, 2]


def test_short_and_long_sets_are_cut_to_the_vocabulary(sets):
    assert _rows(sets, sets.places([b"\1", b"\1\2\3\4\5"])) == [b"\1\0\0", b"\1\2\3"]
    assert _rows(sets, sets.places([b""])) == [b"\0\0\0"]


def test_bits_are_as_masks_have_them():
    ids = torch.rand(5, 21) < 0.5
    for row, told in zip(ids, packed(ids), strict=True):
        number = int.from_bytes(bytes(told.tolist()), "little")
        assert [bool(number >> idx & 1) for idx in range(21)] == row.tolist()
