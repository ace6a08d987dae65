"""The demo folder: made once, by whoever comes first, and made again when the package changes."""

import json
import stat
import threading
from importlib.resources import files

import pytest

from ossia.checkpoint.reader import open_checkpoint
from ossia.demo import unpack
from ossia.demo.unpack import demo_folder
from ossia.errors import CheckpointError

PACKAGE_LIMIT = 8_000_000


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(cache):
    return demo_folder(cache)


def test_it_is_an_ordinary_checkpoint(folder):
    with open_checkpoint(folder) as checkpoint:
        assert checkpoint.layout == "hf"
        assert checkpoint.config.vocab_size == 201_088
        assert checkpoint.config.expert_format == "mxfp4"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json", "model.safetensors", "generation_config.json", "tokenizer.json",
        "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    }  # fmt: skip
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["eos_token"] == "<|return|>"


def test_the_second_time_it_is_there_already(folder, cache, monkeypatch):
    monkeypatch.setattr(unpack, "_write", lambda *_: pytest.fail("unpacked again"))
    assert demo_folder(cache) == folder
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_package_data_is_small():
    data = [files("ossia.demo") / "demo.bin", files("ossia.tokenizer") / "o200k_base.xz"]
    assert sum(len(path.read_bytes()) for path in data) < PACKAGE_LIMIT


def test_two_at_once_agree(tmp_path, monkeypatch):
    barrier = threading.Barrier(2)

    def small(packed, folder, side_files, progress):
        side_files.result()
        barrier.wait(60)
        folder.mkdir()
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(unpack, "_write", small)
    monkeypatch.setattr(unpack, "_write_side_files", lambda *_: [])
    found = []
    threads = [threading.Thread(target=lambda: found.append(demo_folder(tmp_path))) for _ in "12"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1]
    assert [path.name for path in tmp_path.iterdir()] == [found[0].name]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unpack, "_write", broken)
    monkeypatch.setattr(unpack, "_write_side_files", lambda *_: [])
    with pytest.raises(CheckpointError, match=r"No space left.*OSSIA_CACHE"):
        demo_folder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_is_no_folder_is_a_clear_error(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(CheckpointError, match="set OSSIA_CACHE"):
        demo_folder(in_the_way / "cache")
    assert stat.S_ISREG(in_the_way.stat().st_mode)


def test_progress_is_told(tmp_path, monkeypatch):
    told = []

    def write(packed, folder, side_files, progress):
        progress("unpacking the demo model", 1, 1)
        folder.mkdir()

    monkeypatch.setattr(unpack, "_write", write)
    monkeypatch.setattr(unpack, "_write_side_files", lambda *_: [])
    demo_folder(tmp_path, progress=lambda *what: told.append(what))
    assert told == [("unpacking the demo model", 1, 1)]
