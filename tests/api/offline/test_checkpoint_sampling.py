"""CheckpointSampling: generation_config.json, or what stands in for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ossia.api.model_source import ModelSource, find_model
from ossia.api.offline.checkpoint_sampling import CheckpointSampling
from ossia.errors import OssiaError


def _of(folder: Path, content: object, vocab_size: int = 201_088) -> CheckpointSampling:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "generation_config.json").write_text(text)
    return CheckpointSampling.of(ModelSource(name="given/name", folder=folder), vocab_size)


def test_the_file_says_where_output_ends_and_how_it_is_drawn(tmp_path: Path):
    found = _of(
        tmp_path, {"eos_token_id": [5, 7], "temperature": 0.6, "top_k": 3, "bos_token_id": 1}
    )
    assert found.eos_ids == (5, 7)
    assert found.defaults == {"temperature": 0.6, "top_k": 3}
    assert _of(tmp_path, {"eos_token_id": 5}).eos_ids == (5,)
    assert _of(tmp_path, {}).eos_ids == ()
    assert _of(tmp_path, {"eos_token_id": [5, 700]}, vocab_size=100).eos_ids == (5,)


def test_without_a_file_it_is_as_published(tmp_path: Path):
    for source in (find_model("random:tiny"), ModelSource(name="x", folder=tmp_path)):
        found = CheckpointSampling.of(source, 201_088)
        assert found.eos_ids == (200_002, 199_999, 200_012)
        assert found.defaults == {}


@pytest.mark.parametrize("content", ["[]", "{", {"temperature": "hot"}])
def test_a_damaged_file_is_an_error(tmp_path: Path, content: object):
    with pytest.raises(OssiaError):
        _of(tmp_path, content)
