"""What a state folder may be and hold before it is closed to others."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import pytest

from ossia.errors import StoreError
from ossia.server.responses.sealing import Sealer
from ossia.server.store import SqliteStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="other permissions")

ANOTHER_USER = 12345


def _mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def _use(folder: Path) -> None:
    """As a server does that starts and ends."""
    store = SqliteStore(folder)
    try:
        Sealer.of_folder(folder, "m")
    finally:
        asyncio.run(store.close())


def _give_away(path: Path) -> None:
    try:
        os.chown(path, ANOTHER_USER, -1, follow_symlinks=False)
    except PermissionError:
        pytest.skip("only root can give files away")


@pytest.fixture
def folder(tmp_path):
    """That of a server which ran there before."""
    folder = tmp_path / "state"
    _use(folder)
    return folder


@pytest.fixture
def foreign(tmp_path):
    """A file that is no business of the server's."""
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"x" * 32)
    foreign.chmod(0o644)
    return foreign


def test_what_others_may_have_planted_ends_the_start_again_and_again(folder):
    (folder / "sealing.key").chmod(0o666)
    _give_away(folder / "sealing.key")
    folder.chmod(0o777)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"can write .*sealing\.key, which belongs to .*chown"):
            SqliteStore(folder)
        assert _mode(folder) == 0o777


@pytest.mark.parametrize("mode", [0o770, 0o707])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_that_others_may_have_planted_end_the_start(folder, foreign, link, mode):
    link(foreign, folder / "harmless")
    (folder / "harmless").rename(folder / ".harmless")
    folder.chmod(mode)
    with pytest.raises(StoreError, match=r"\.harmless, which is a link; move away"):
        SqliteStore(folder)
    assert (_mode(folder), _mode(foreign)) == (mode, 0o644)


def test_a_folder_that_others_could_write_and_did_not_is_closed(folder):
    (folder / "lost+found").mkdir()
    folder.chmod(0o777)
    _use(folder)
    assert _mode(folder) == 0o700


NAMES = ["lock", "store.sqlite3", "store.sqlite3-wal", "store.sqlite3-journal", "sealing.key"]


@pytest.mark.parametrize("name", NAMES)
def test_links_are_not_followed(folder, foreign, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(foreign)
    with pytest.raises(StoreError, match=f"{name} is a link; put the file itself in its place"):
        _use(folder)
    assert _mode(foreign) == 0o644


@pytest.mark.parametrize("name", NAMES)
def test_nor_are_those_that_lead_nowhere(folder, tmp_path, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError, match=f"{name} is a link"):
        _use(folder)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", NAMES)
def test_files_of_another_user_are_refused_in_a_closed_folder_too(folder, name):
    (folder / name).touch()
    _give_away(folder / name)
    with pytest.raises(StoreError, match=f"{name} belongs to another user; move it away, or"):
        _use(folder)


def test_a_folder_that_root_was_given_is_used_with_its_files(folder):
    for each in (folder, *folder.iterdir()):
        _give_away(each)
    _use(folder)


def test_every_file_is_closed_to_others(folder):
    (folder / "sealing.key.old").touch()
    for each in folder.iterdir():
        each.chmod(0o666)
    _use(folder)
    assert {_mode(each) for each in folder.iterdir()} == {0o600}


def test_an_open_folder_of_another_user_is_refused_with_advice_that_keeps_its_files(
    tmp_path, monkeypatch
):
    tmp_path.chmod(0o750)
    user = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(StoreError) as refused:
        SqliteStore(tmp_path)
    said = str(refused.value)
    assert f"belongs to another user ({user})" in said
    assert f"`chown -R {user + 1}` and `chmod 700` it, or move what this server has there" in said


def test_following_that_advice_keeps_what_was_stored(folder):
    sealed = Sealer.of_folder(folder, "m").seal("thoughts")
    user = os.geteuid()
    for each in (folder, *folder.iterdir()):
        _give_away(each)
    folder.chmod(0o755)
    with pytest.raises(StoreError, match=f"chown -R {user}"):
        _use(folder)
    for each in (folder, *folder.iterdir()):
        os.chown(each, user, -1)
    folder.chmod(0o700)
    _use(folder)
    assert Sealer.of_folder(folder, "m").open(sealed) == "thoughts"


def test_hidden_files_and_those_of_a_volume_are_no_reason_to_refuse(folder):
    for name in (".gitignore", ".DS_Store"):
        (folder / name).touch()
    (folder / "lost+found").mkdir()
    folder.chmod(0o755)
    _use(folder)
    assert _mode(folder) == 0o700


def test_a_home_is_left_as_it_is(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / ".profile").touch()
    folder.chmod(0o755)
    with pytest.raises(StoreError, match=r"holds other things, such as \.profile"):
        SqliteStore(folder)
    assert _mode(folder) == 0o755


def test_a_folder_for_all_users_is_left_as_it_is(folder):
    folder.chmod(0o1777)
    with pytest.raises(StoreError, match="for all users, as /tmp is; move what this server has"):
        SqliteStore(folder)
    assert _mode(folder) == 0o1777


def _without_effect(path: Path, mode: int) -> None:
    pass


def _refused(path: Path, mode: int) -> None:
    raise PermissionError(1, "Operation not permitted", str(path))


@pytest.mark.parametrize("chmod", [_without_effect, _refused])
def test_a_file_system_without_permissions_is_told_of(folder, monkeypatch, caplog, chmod):
    caplog.set_level(logging.WARNING, "ossia")
    folder.chmod(0o777)
    monkeypatch.setattr(Path, "chmod", chmod)
    _use(folder)
    (said,) = caplog.messages
    assert "others can read" in said
    assert "keeps no permissions" in said
    assert "closed" not in said


def test_that_a_folder_was_closed_is_told(folder, caplog):
    caplog.set_level(logging.WARNING, "ossia")
    folder.chmod(0o755)
    _use(folder)
    (said,) = caplog.messages
    assert "it is closed to them now" in said
