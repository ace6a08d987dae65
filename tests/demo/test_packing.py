"""The packed file: what goes in comes out, the same bytes each time, and damage is noticed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from ossia.demo.packing import PackedModel, checksum, pack_model, unpack_model
from ossia.errors import CheckpointError

ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.sampled_from(["int8", "uint8", "uint16", "int32"]).flatmap(
        lambda dtype: st_numpy.arrays(
            np.dtype(dtype), st_numpy.array_shapes(max_dims=3, max_side=5)
        )
    ),
    max_size=4,
)


@given(arrays=ARRAYS)
@settings(max_examples=20)
def test_round_trip_is_exact_and_deterministic(arrays):
    model = PackedModel({"a": 1}, arrays)
    packed = pack_model(model)
    assert pack_model(model) == packed
    back = unpack_model(packed)
    assert back.config == {"a": 1}
    assert list(back.arrays) == list(arrays)
    for name, array in arrays.items():
        assert back.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(back.arrays[name], array)


def test_another_content_has_another_checksum():
    first = pack_model(PackedModel({}, {"x": np.zeros(3, np.int8)}))
    second = pack_model(PackedModel({}, {"x": np.ones(3, np.int8)}))
    assert checksum(first) != checksum(second)


@pytest.mark.parametrize("where", [45, -1])
def test_a_flipped_byte_is_noticed(where):
    packed = bytearray(pack_model(PackedModel({}, {"x": np.arange(9, dtype=np.int8)})))
    packed[where] ^= 1
    with pytest.raises(CheckpointError, match="checksum"):
        unpack_model(bytes(packed), file="demo.bin")


def test_other_files_and_versions_are_refused():
    with pytest.raises(CheckpointError, match=r"demo\.bin: not a packed demo model"):
        unpack_model(b"something else", file="demo.bin")
    packed = bytearray(pack_model(PackedModel({}, {})))
    packed[len(b"ossia-demo")] = 99
    with pytest.raises(CheckpointError, match="version 99"):
        unpack_model(bytes(packed))
