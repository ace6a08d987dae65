"""Which kernels a layer's experts run in, by tokens and device."""

from __future__ import annotations

import pytest
import torch

from ossia.kernels.decode import dozens, several, wide
from ossia.kernels.decode.ways import ExpertsWay

DEVICE = torch.device("cuda", 0)
OF_20B = 4, 32, (2880, 2880)  # top_k, experts, sizes


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch):
    """As on a device that has what these kernels need."""
    for module in (several, dozens, wide):
        monkeypatch.setattr(module, "is_hopper", lambda _: True)


@pytest.mark.parametrize(
    ("tokens", "way", "width"),
    [
        (1, ExpertsWay.SEVERAL, 8),
        (8, ExpertsWay.SEVERAL, 8),
        (64, ExpertsWay.SEVERAL, 16),
        (96, ExpertsWay.DOZENS, 24),
        (192, ExpertsWay.DOZENS, 24),
        (256, ExpertsWay.WIDE, 64),
        (1024, ExpertsWay.WIDE, 128),
    ],
)
def test_on_hopper(hopper, tokens, way, width):
    top_k, experts, sizes = OF_20B
    chosen = ExpertsWay.choose(tokens, top_k, experts, sizes, DEVICE)
    assert chosen is way
    assert chosen.width(tokens * top_k, experts) == width
    assert chosen.in_places == (tokens > 64)
    assert chosen.is_sorted(tokens) == (tokens > several.CHOOSING_TOKENS)


def test_experts_too_large_for_a_multiprocessor_go_elsewhere(hopper):
    assert ExpertsWay.choose(1, 4, 32, (4096, 4096), DEVICE) is ExpertsWay.FEW
    assert ExpertsWay.choose(64, 4, 32, (4096, 4096), DEVICE) is ExpertsWay.ROUTED
    assert ExpertsWay.choose(128, 4, 32, (4096, 4096), DEVICE) is ExpertsWay.WIDE


@pytest.mark.parametrize("sizes", [(2944, 2944), (2880, 2912)])
def test_what_only_dozens_has_room_for(hopper, sizes):
    """A few tokens do not go there: their slots are not sorted."""
    ways = [ExpertsWay.choose(tokens, 4, 32, sizes, DEVICE) for tokens in (1, 4, 5, 64, 192, 256)]
    assert ways == [ExpertsWay.FEW] * 2 + [ExpertsWay.DOZENS] * 3 + [ExpertsWay.WIDE]
    for tokens, way in zip((1, 4, 5), ways, strict=False):
        assert way.is_sorted(tokens) == (way is ExpertsWay.DOZENS)


@pytest.mark.parametrize(("tokens", "way"), [(4, ExpertsWay.FEW), (5, ExpertsWay.ROUTED)])
def test_elsewhere(tokens, way):
    chosen = ExpertsWay.choose(tokens, *OF_20B, torch.device("cpu"))
    assert chosen is way
    assert chosen.width(tokens * 4, 32) is None
    assert not chosen.in_places
    assert chosen.is_sorted(tokens) == (way is ExpertsWay.ROUTED)
