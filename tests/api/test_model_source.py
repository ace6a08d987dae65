"""Model names: what they stand for, and what is said of those that stand for nothing."""

from __future__ import annotations

import pytest

from ossia.api.model_source import find_model, names_model
from ossia.config import PRESETS
from ossia.errors import CheckpointError, ConfigError, ModelNotFoundError, RequestError
from ossia.tokenizer import Tokenizer
from support.folders import write_tiny_folder


@pytest.mark.parametrize("preset", PRESETS)
def test_random_names_are_shapes(preset):
    source = find_model(f"random:{preset}")
    assert source.random_config == PRESETS[preset]()
    assert source.folder is None
    assert source.tokenizer() is Tokenizer.o200k_harmony()


@pytest.mark.parametrize("name", ["demo", "random:tiny"])
def test_what_comes_with_ossia_has_no_revisions(name):
    with pytest.raises(RequestError, match=f"^revision: is for hub repositories, and {name} comes"):
        find_model(name, revision="v2")
    assert find_model(name, revision="main").name == name  # what code for transformers says anyway


def test_folders_are_themselves(tmp_path):
    folder = write_tiny_folder(tmp_path / "model")
    source = find_model(str(folder))
    assert source.folder == folder
    assert source.tokenizer() is Tokenizer.o200k_harmony()


def test_a_damaged_tokenizer_is_not_passed_over(tmp_path):
    folder = write_tiny_folder(tmp_path / "model")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        find_model(str(folder)).tokenizer()


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert find_model("~/model").folder == tmp_path / "model"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("gpt-oss-20b", ModelNotFoundError, "no folder, no hub id .* and none of demo, random:20b"),
        ("", ModelNotFoundError, "no folder"),
        ("x" * 5000, ModelNotFoundError, "no folder"),
        ("./nowhere", ModelNotFoundError, "./nowhere: no such folder"),
        ("/nowhere/at/all", ModelNotFoundError, "no such folder"),
        ("openai/gpt-oss-20b", ModelNotFoundError, "run `ossia pull openai/gpt-oss-20b`"),
        ("random:9b", ConfigError, "known: random:20b, random:120b, random:tiny"),
        ("random:", ConfigError, "known: random:20b"),
    ],
)
def test_names_of_nothing(name, error, message):
    with pytest.raises(error, match=message):
        find_model(name)


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_downloaded_hub_models_are_found(tmp_path, layout):
    repository = tmp_path / "models--openai--tiny"
    snapshot = repository / "snapshots" / ("0" * 40)
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    weights = write_tiny_folder(snapshot if layout == "hf" else snapshot / "original")
    assert find_model("openai/tiny", cache_dir=tmp_path).folder == weights
    with pytest.raises(ModelNotFoundError, match="run `ossia pull openai/tiny`"):
        find_model("openai/tiny", cache_dir=tmp_path, revision="v2")


def test_a_missing_hub_model_may_be_downloaded():
    # Nobody answers at the hub's address in the tests.
    with pytest.raises(ModelNotFoundError) as caught:
        find_model("openai/gpt-oss-20b", download=True)
    assert "\n" not in str(caught.value)


def test_what_can_only_be_a_model_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("demo", "random:20b", "random:nix", "./x", "/x", "~/x", "a/b", "folder"):
        assert names_model(name), name
    for prompt in (
        "hello",
        "Is it a/b?",
        "either/or else",
        "and/or?",
        "What is 1/2?",
        "",
        "x" * 5000,
    ):
        assert not names_model(prompt), prompt
