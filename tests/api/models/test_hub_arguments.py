"""The arguments that say how the hub is asked: each does what it says, against a hub of our own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ossia import AutoConfig, AutoModelForCausalLM
from ossia.errors import ModelNotFoundError
from support.checkpoints import tiny_config, write_tiny
from support.fake_hub import FakeHub, commit_of, fake_hub

WEIGHTS = "model.safetensors"


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A repository whose branch `wide` has another shape."""
    with fake_hub(_files(write_tiny(tmp_path / "main"))) as hub:
        wide = tiny_config(hidden_size=96)
        hub.revisions["wide"] = _files(write_tiny(tmp_path / "wide", wide))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield hub


def _load(hub: FakeHub, **options: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(hub.repo_id, **options)


def test_a_model_of_the_hub(hub: FakeHub, tmp_path: Path):
    own: dict[str, Any] = {"cache_dir": tmp_path / "cache", "token": "secret"}
    with pytest.raises(ModelNotFoundError):
        _load(hub, local_files_only=True, **own)
    assert not hub.requests
    model = _load(hub, **own)
    assert "Bearer secret" in hub.tokens
    assert hub.fetched().count(WEIGHTS) == 1
    assert list((tmp_path / "cache").glob(f"models--*/snapshots/{commit_of('main')}/{WEIGHTS}"))
    hub.requests.clear()
    again = _load(hub, local_files_only=True, **own)
    assert not hub.requests
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)
    _load(hub, force_download=True, **own)
    assert hub.fetched().count(WEIGHTS) == 1
    assert _load(hub, revision="wide", **own).config.hidden_size == 96


def test_a_config_of_the_hub(hub: FakeHub, tmp_path: Path):
    own: dict[str, Any] = {"cache_dir": tmp_path / "cache", "token": "secret"}
    with pytest.raises(ModelNotFoundError):
        AutoConfig.from_pretrained(hub.repo_id, local_files_only=True, **own)
    assert AutoConfig.from_pretrained(hub.repo_id, **own).hidden_size == 64
    assert set(hub.fetched()) == {"config.json"}, "weights are not fetched"
    assert "Bearer secret" in hub.tokens
    hub.requests.clear()
    assert AutoConfig.from_pretrained(hub.repo_id, local_files_only=True, **own).hidden_size == 64
    assert not hub.requests
    AutoConfig.from_pretrained(hub.repo_id, force_download=True, **own)
    assert hub.fetched() == ["config.json"]
    assert AutoConfig.from_pretrained(hub.repo_id, revision="wide", **own).hidden_size == 96


def test_a_config_by_name_is_fetched_for_a_model(hub: FakeHub, tmp_path: Path):
    folder = write_tiny(tmp_path / "local")
    own: dict[str, Any] = {"cache_dir": tmp_path / "cache", "token": "secret"}
    model = AutoModelForCausalLM.from_pretrained(folder, config=hub.repo_id, **own)
    assert model.config.hidden_size == 64
    assert hub.fetched() == ["config.json"]
