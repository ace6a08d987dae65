from __future__ import annotations

import base64
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ossia.errors import StoreError
from ossia.server.responses import sealing
from ossia.server.responses.sealing import Sealer, SealError
from ossia.server.responses.surroundings import Surroundings
from ossia.server.settings import ServerSettings
from ossia.server.state import ServerState
from support.scripted_service import ScriptedService

KEY = bytes(range(32))


@given(st.text())
def test_what_was_sealed_opens_as_it_was(text):
    sealer = Sealer(KEY, "m")
    assert sealer.open(sealer.seal(text)) == text.encode("utf-8", "replace").decode()


def test_a_sealed_text_shows_nothing_and_is_new_every_time():
    sealer = Sealer(KEY, "m")
    first, second = sealer.seal("secret thoughts"), sealer.seal("secret thoughts")
    assert first != second
    assert b"secret" not in base64.urlsafe_b64decode(first)


@given(st.data())
def test_a_forged_text_does_not_open(data):
    sealed = bytearray(base64.urlsafe_b64decode(Sealer(KEY, "m").seal("thoughts")))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealError):
        Sealer(KEY, "m").open(base64.urlsafe_b64encode(sealed).decode())


@pytest.mark.parametrize(
    "other",
    [Sealer(KEY, "other"), Sealer(bytes(32), "m")],
    ids=["another model", "another server"],
)
def test_a_text_opens_only_where_it_was_sealed(other):
    with pytest.raises(SealError, match="not made by this server for this model"):
        other.open(Sealer(KEY, "m").seal("thoughts"))


def test_a_text_opens_only_for_its_purpose():
    sealed = Sealer(KEY, "m").seal("thoughts", "compaction")
    with pytest.raises(SealError):
        Sealer(KEY, "m").open(sealed)
    assert Sealer(KEY, "m").open(sealed, "compaction") == "thoughts"


@pytest.mark.parametrize("junk", ["", "AA", "not base64!", "é", "gAAAAA==", "AQ==", "AQAA" * 4])
def test_junk_does_not_open(junk):
    with pytest.raises(SealError):
        Sealer(KEY, "m").open(junk)


def test_sizes_are_capped_before_and_after_decompression(monkeypatch):
    sealer = Sealer(KEY, "m")
    bomb = sealer.seal("x" * 100_000)
    assert len(bomb) < 1000
    monkeypatch.setattr(sealing, "MAX_TEXT_BYTES", 99_999)
    with pytest.raises(SealError, match="99999"):
        sealer.open(bomb)
    with pytest.raises(SealError, match="99999"):
        sealer.seal("x" * 100_000)
    monkeypatch.setattr(sealing, "MAX_SEALED_CHARS", 100)
    with pytest.raises(SealError, match="longer than 100"):
        sealer.open(bomb)


def test_the_key_outlives_the_server_and_is_for_its_owner_only(tmp_path):
    folder = tmp_path / "state"
    sealed = Sealer.of_folder(folder, "m").seal("thoughts")
    assert Sealer.of_folder(folder, "m").open(sealed) == "thoughts"
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_folder_every_server_has_its_own_key():
    with pytest.raises(SealError):
        Sealer.of_folder(None, "m").open(Sealer.of_folder(None, "m").seal("thoughts"))


def test_a_damaged_key_is_told_of(tmp_path):
    (tmp_path / "sealing.key").write_bytes(b"short")
    with pytest.raises(OSError, match=r"sealing\.key holds no key"):
        Sealer.of_folder(tmp_path, "m")


@pytest.mark.skipif(sys.platform == "win32", reason="other permissions")
def test_a_key_that_others_could_read_is_closed_to_them(tmp_path):
    Sealer.of_folder(tmp_path, "m")
    for name in ("sealing.key", "sealing.key.old"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    Sealer.of_folder(tmp_path, "m")
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}


@pytest.mark.skipif(sys.platform == "win32", reason="other permissions")
@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_is_no_key(tmp_path, is_there):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "sealing.key").symlink_to(tmp_path / "planted")
    if is_there:
        (tmp_path / "planted").write_bytes(KEY)
    with pytest.raises(StoreError, match=r"sealing\.key is a link"):
        Sealer.of_folder(tmp_path / "state", "m")


def test_the_key_of_a_store_of_several_servers_outdoes_that_of_a_folder(tmp_path):
    store = SimpleNamespace(shared_key=b"k" * 32)

    def sealer(folder: Path | None) -> Sealer:
        state = ServerState(
            settings=ServerSettings(state_folder=folder), service=ScriptedService(), store=store
        )
        return Surroundings.of(state).sealer

    assert sealer(tmp_path).open(sealer(None).seal("thought")) == "thought"
