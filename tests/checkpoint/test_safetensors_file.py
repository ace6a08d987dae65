import io
import pickle

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from ossia.checkpoint.safetensors_file import TORCH_DTYPES, SafetensorsFile
from support.checkpoints import join_file, raw_bytes

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4)


@given(tensors=st.lists(st.tuples(st.sampled_from(sorted(TORCH_DTYPES)), shapes), max_size=6))
def test_reads_what_the_library_writes(tensors, tmp_path_factory):
    saved = {
        f"tensor.{idx}": torch.randint(0, 99, shape).to(TORCH_DTYPES[dtype])
        for idx, (dtype, shape) in enumerate(tensors)
    }
    path = tmp_path_factory.mktemp("file") / "model.safetensors"
    save_file(saved, path)
    file = SafetensorsFile(path)
    assert sorted(file.entries) == sorted(saved)
    for name, tensor in saved.items():
        found = file.get(name)
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert raw_bytes(found) == raw_bytes(tensor)
        assert file.entries[name].nbytes == tensor.nbytes


def test_unaligned_tensors_are_read_too(tmp_path):
    header = {
        "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [3, 11]},
    }
    data = b"\x01\x02\x03" + np.array([1.5, -2.0], np.float32).tobytes()
    for padding in range(4):
        path = tmp_path / f"{padding}.safetensors"
        join_file(path, str(header).replace("'", '"').encode() + b" " * padding, data)
        assert SafetensorsFile(path).get("b").tolist() == [1.5, -2.0]


def test_tensors_are_views_that_outlive_the_file_object(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.arange(8.0), "b": torch.arange(3.0)}, path)
    file = SafetensorsFile(path)
    first, second = file.get("a"), file.get("a")
    assert first.data_ptr() == second.data_ptr()
    assert first.untyped_storage().nbytes() == first.nbytes
    del file, second
    assert first.tolist() == list(range(8))


def test_tensors_of_several_dtypes_are_pickled_and_saved_without_the_rest_of_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(
        {"a": torch.arange(9, dtype=torch.uint8), "b": torch.ones(3), "c": torch.zeros(10**6)}, path
    )
    file = SafetensorsFile(path)
    state = {name: file.get(name) for name in "ab"}
    assert len(pickle.dumps(state)) < 10**5
    saved = io.BytesIO()
    torch.save(state, saved)
    saved.seek(0)
    assert {name: value.tolist() for name, value in torch.load(saved).items()} == {
        "a": list(range(9)),
        "b": [1.0] * 3,
    }


def test_empty_tensors_are_read(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(0, 3), "b": torch.ones(2)}, path)
    assert SafetensorsFile(path).get("a").shape == (0, 3)


def test_writing_to_a_tensor_leaves_the_file_alone(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(4)}, path)
    before = path.read_bytes()
    SafetensorsFile(path).get("a").fill_(1.0)
    assert path.read_bytes() == before
    assert SafetensorsFile(path).get("a").tolist() == [0.0] * 4
