"""The tensors of steps of all sizes, without a device: which of them lie over each other."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from ossia.config import PRESETS
from ossia.model import decode_memory
from ossia.model.decode_memory import DecodeMemory, LayerTensors, StepTensors

SIZES = (1, 2, 4, 8, 48, 512)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _parts_of_a_device(monkeypatch: pytest.MonkeyPatch):
    """What depends on multiprocessors, of a device that has some."""
    monkeypatch.setattr(
        decode_memory, "num_parts", lambda tokens, k, rows, device: 3 if tokens <= 4 else 1
    )
    monkeypatch.setattr(decode_memory, "split_parts", lambda rows, device: 3)
    monkeypatch.setattr(
        decode_memory, "num_shares", lambda tokens, heads, device: -(-264 // (tokens * heads))
    )


def _addresses(tensors: StepTensors) -> list[int]:
    return [getattr(tensors, field.name).data_ptr() for field in fields(tensors)]


def test_all_sizes_lie_over_each_other():
    memory = DecodeMemory(PRESETS["tiny"](), SIZES, CPU)
    addresses = [_addresses(memory.step(size)) for size in SIZES]
    assert all(some == addresses[0] for some in addresses)
    assert len(set(addresses[0])) == len(addresses[0])


@pytest.mark.parametrize("most", [1, 4, 8, 512])
def test_each_size_has_its_shapes_whatever_the_largest_is(most):
    config = PRESETS["tiny"]()
    sizes = [size for size in SIZES if size <= most]
    memory = DecodeMemory(config, sizes, CPU)
    for size in sizes:
        tensors = memory.step(size)
        few, hidden = size <= 4, config.hidden_size
        assert memory.logits(size).shape == (size, config.vocab_size)
        assert memory.drawn(size).shape == (2, 2, size)
        assert tensors.parts.shape == (3 if few else 1, size, hidden)
        assert tensors.said.shape == (3 if few else config.experts_per_token, size, hidden)
        assert all(getattr(tensors, field.name).is_contiguous() for field in fields(tensors))


def test_what_steps_rely_on_is_zero_and_at_the_same_place_for_all():
    memory = DecodeMemory(PRESETS["tiny"](), SIZES, CPU)
    for size in SIZES:
        tensors = memory.step(size)
        assert not tensors.attention_arrivals.any()
        assert not tensors.drawn_arrivals.any()
        # What one size writes of a row, up to the columns that fill it up, another one does, too.
        tensors.expert_in[-1] = tensors.inner[-1] = size
        larger = memory.step(SIZES[-1])
        assert (larger.expert_in[size - 1] == size).all()
        assert (larger.inner[len(tensors.inner) - 1] == size).all()


def test_passes_lie_over_the_steps_and_leave_rows_of_logits_of_their_own_number():
    config = PRESETS["tiny"]()
    memory = DecodeMemory(config, (1, 2), CPU, {32: 4, 64: 4})
    step, passing = memory.step(2), memory.layers(64)
    for field in fields(LayerTensors):
        mine, other = getattr(passing, field.name), getattr(step, field.name)
        assert mine.data_ptr() == other.data_ptr(), field.name
    assert passing.parts.shape == (1, 64, config.hidden_size)
    assert passing.inner.shape[0] == 64 * config.experts_per_token
    assert memory.logits(4).shape == (4, config.vocab_size)
    assert memory.logits(4).data_ptr() == memory.logits(1).data_ptr()
