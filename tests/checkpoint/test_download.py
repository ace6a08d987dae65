from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from ossia.checkpoint.download import pull
from ossia.checkpoint.reader import open_checkpoint
from ossia.errors import CheckpointError, ModelNotFoundError
from support.checkpoints import tensor_bytes, write_tiny
from support.fake_hub import FakeHub, commit_of, fake_hub

REPO = "openai/gpt-oss-tiny"


def repository_files(folder: Path) -> dict[str, bytes]:
    """A repository as the released ones are: both layouts, and things nobody needs."""
    write_tiny(folder / "it", max_shard_bytes=40_000)
    write_tiny(folder / "it" / "original", layout="original")
    (folder / "it" / "metal").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "LICENSE"):
        (folder / "it" / name).write_text(f"{name} of the model\n")
    (folder / "it" / "metal" / "model.bin").write_bytes(b"metal")
    paths = sorted(path for path in (folder / "it").rglob("*") if path.is_file())
    return {str(path.relative_to(folder / "it")): path.read_bytes() for path in paths}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    # The client waits a second before it takes up a broken transfer.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with fake_hub(repository_files(tmp_path / "repository")) as hub:
        yield hub


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def blobs(cache: Path) -> set[str]:
    return {path.name for path in cache.glob("models--*/blobs/*")}


def test_hugging_face_files_only(hub, cache, tmp_path):
    folder = pull(REPO, cache_dir=cache, endpoint=hub.endpoint)
    assert folder.name == commit_of("main")
    found = {path.name for path in folder.rglob("*")}
    assert found == {name for name in hub.revisions["main"] if "/" not in name}
    assert tensor_bytes(open_checkpoint(folder)) == tensor_bytes(
        open_checkpoint(tmp_path / "repository" / "it")
    )
    assert (folder / "tokenizer.json").read_bytes() == hub.revisions["main"]["tokenizer.json"]


def test_original_files_only(hub, cache):
    folder = pull(REPO, cache_dir=cache, endpoint=hub.endpoint, files="original")
    assert open_checkpoint(folder).layout == "original"
    names = hub.fetched()
    assert "original/model.safetensors" in names
    assert "tokenizer.json" in names
    assert not any(name.endswith(".safetensors") and "/" not in name for name in names)
    # The other layout is another pull, into the same snapshot.
    assert open_checkpoint(pull(REPO, cache_dir=cache, endpoint=hub.endpoint)).layout == "hf"


def test_nothing_is_fetched_twice(hub, cache):
    first = pull(REPO, cache_dir=cache, endpoint=hub.endpoint)
    hub.requests.clear()
    assert pull(REPO, cache_dir=cache, endpoint=hub.endpoint) == first
    assert hub.fetched() == []


def test_weights_come_last(hub, cache):
    pull(REPO, cache_dir=cache, endpoint=hub.endpoint)
    is_weights = [name.endswith(".safetensors") for name in hub.fetched()]
    assert is_weights == sorted(is_weights)
    assert any(is_weights)


@pytest.mark.parametrize("revision", ["v1", commit_of("v1")])
def test_revision(hub, cache, revision):
    hub.revisions["v1"] = hub.revisions["main"] | {"LICENSE": b"older\n"}
    folder = pull(REPO, revision=revision, cache_dir=cache, endpoint=hub.endpoint)
    assert (folder / "LICENSE").read_bytes() == b"older\n"
    offline = pull(REPO, revision=revision, cache_dir=cache, local_files_only=True)
    assert offline == folder


def test_a_moved_branch_is_followed(hub, cache):
    pull(REPO, cache_dir=cache, endpoint=hub.endpoint, revision=commit_of("main"))
    assert pull(REPO, cache_dir=cache, endpoint=hub.endpoint).name == commit_of("main")


def test_a_cut_transfer_goes_on_where_it_stopped(hub, cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    name = next(name for name in hub.revisions["main"] if name.endswith(".safetensors"))
    hub.cuts[name] = 10_000
    folder = pull(REPO, cache_dir=cache, endpoint=hub.endpoint)
    assert hub.fetched().count(name) == 1
    assert hub.fetched().count(f"{name} RANGE") == 1
    assert (folder / name).read_bytes() == hub.revisions["main"][name]


def test_an_interrupted_pull_keeps_finished_files(hub, cache):
    class InterruptedHereError(Exception):
        pass

    def interrupt(what: str, count: int, total: int) -> None:
        if what == "downloading" and count > 0.9 * total:
            raise InterruptedHereError

    with pytest.raises(InterruptedHereError):
        pull(REPO, cache_dir=cache, endpoint=hub.endpoint, progress=interrupt)
    with pytest.raises(ModelNotFoundError, match=r"only partly|is not in"):
        pull(REPO, cache_dir=cache, local_files_only=True)
    first = set(hub.fetched())
    hub.requests.clear()
    open_checkpoint(pull(REPO, cache_dir=cache, endpoint=hub.endpoint))
    assert len(hub.fetched()) == 1
    assert set(hub.fetched()) <= first


@pytest.mark.parametrize("kind", ["weights", "small"])
def test_a_corrupted_file_is_removed_and_fetched_again(hub, cache, kind):
    name = "config.json" if kind == "small" else "model-00001-of-00002.safetensors"
    hub.corrupt.add(name)
    with pytest.raises(CheckpointError, match="run `ossia pull` again") as caught:
        pull(REPO, cache_dir=cache, endpoint=hub.endpoint)
    assert str(caught.value.file).endswith(name)
    hub.corrupt.clear()
    hub.requests.clear()
    folder = pull(REPO, cache_dir=cache, endpoint=hub.endpoint)
    assert hub.fetched() == [name]
    assert (folder / name).read_bytes() == hub.revisions["main"][name]


def test_damage_in_the_cache_is_found(hub, cache):
    folder = pull(REPO, cache_dir=cache, endpoint=hub.endpoint)
    shard = sorted(folder.glob("*.safetensors"))[0]
    content = shard.read_bytes()
    shard.resolve().write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="has hash"):
        pull(REPO, cache_dir=cache, endpoint=hub.endpoint)
    assert pull(REPO, cache_dir=cache, endpoint=hub.endpoint) == folder
    assert shard.read_bytes() == content


def test_progress(hub, cache):
    calls: list[tuple[str, int, int]] = []
    pull(REPO, cache_dir=cache, endpoint=hub.endpoint, progress=lambda *call: calls.append(call))
    size = sum(len(content) for name, content in hub.revisions["main"].items() if "/" not in name)
    for what in ("downloading", "verifying"):
        counts = [done for name, done, total in calls if name == what and total == size]
        assert counts == sorted(counts)
        assert counts[-1] == size
        assert len(counts) > len(hub.fetched())
    assert [what for what, _, _ in calls] == sorted(what for what, _, _ in calls)


def test_token_is_sent(hub, cache):
    pull(REPO, cache_dir=cache, endpoint=hub.endpoint, token="hf_mine")
    assert hub.tokens == {"Bearer hf_mine"}


def test_offline_with_a_complete_cache(hub, cache):
    folder = pull(REPO, cache_dir=cache, endpoint=hub.endpoint)
    nobody = "http://127.0.0.1:9"
    assert pull(REPO, cache_dir=cache, endpoint=nobody) == folder
    assert pull(REPO, cache_dir=cache, endpoint=nobody, local_files_only=True) == folder
    hub.status = 503
    assert pull(REPO, cache_dir=cache, endpoint=hub.endpoint) == folder


def test_offline_mode_of_the_client(hub, cache, monkeypatch):
    folder = pull(REPO, cache_dir=cache, endpoint=hub.endpoint)
    hub.requests.clear()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert pull(REPO, cache_dir=cache, endpoint=hub.endpoint) == folder
    assert hub.requests == []


def test_default_cache_is_the_client_s(hub, cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    assert pull(REPO, endpoint=hub.endpoint).is_relative_to(cache)


Usage = namedtuple("Usage", "total used free")


def fill_disk(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100_000, 99_999, 1))


def fail_writing(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("ossia.checkpoint.download.hf_hub_download", refuse)


def lose_connection(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise ConnectionResetError("cable pulled")

    monkeypatch.setattr("ossia.checkpoint.download.hf_hub_download", refuse)


def forget_weights(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.revisions["main"] = {"config.json": b"{}", "pytorch_model.bin": b"pickle"}


def forget_config(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del hub.revisions["main"]["config.json"]


def gate(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.gated = True


def answer(status: int):
    def fault(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.status = status

    return fault


def nothing(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    return


@pytest.mark.parametrize(
    ("fault", "options", "error", "says"),
    [
        (nothing, {"repo_id": "openai/gpt-5-tiny"}, ModelNotFoundError, "is not on the hub"),
        (nothing, {"repo_id": "not/a/name"}, ModelNotFoundError, "expected owner/name"),
        (nothing, {"repo_id": "no/a/name", "local_files_only": True}, ModelNotFoundError,
         "expected owner/name"),
        (nothing, {"revision": "v9"}, ModelNotFoundError, "has no revision 'v9'"),
        (nothing, {"local_files_only": True}, ModelNotFoundError, "is not in .*cache"),
        (nothing, {"endpoint": "http://127.0.0.1:9"}, ModelNotFoundError,
         "cannot be reached.* is not in"),
        (gate, {}, ModelNotFoundError, "is gated"),
        (answer(503), {}, ModelNotFoundError, "answered 503.* is not in"),
        (answer(403), {}, ModelNotFoundError, r"refuses access to .*\(403\)"),
        (forget_weights, {}, CheckpointError, "no safetensors files of the hf layout"),
        (forget_config, {}, CheckpointError, "has no config.json"),
        (forget_weights, {"files": "original"}, CheckpointError, "of the original layout"),
        (fill_disk, {}, CheckpointError, "GB free, .* needs .* GB more"),
        (lose_connection, {}, ModelNotFoundError, "cable pulled.*check the connection"),
        (fail_writing, {}, CheckpointError, "No space left"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do(hub, cache, monkeypatch, fault, options, error, says):
    fault(hub, cache, monkeypatch)
    arguments = {"repo_id": REPO, "cache_dir": cache, "endpoint": hub.endpoint} | options
    with pytest.raises(error, match=says) as caught:
        pull(**arguments)
    assert isinstance(caught.value, error)
    assert len(str(caught.value).splitlines()) == 1
