from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ossia.errors import ConfigError
from ossia.server.settings import ServerSettings
from ossia.server.tls import check_tls
from support.certificates import self_signed


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """Files of every kind, by name."""
    files = {}
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
        files[f"{name}.crt"], files[f"{name}.key"] = self_signed(tmp_path / name)
    files["both"] = tmp_path / "both"
    files["both"].write_bytes(files["mine.crt"].read_bytes() + files["mine.key"].read_bytes())
    files["notes"] = tmp_path / "notes"
    files["notes"].write_bytes(b"\xff notes")
    files["cut"] = tmp_path / "cut"
    files["cut"].write_bytes(files["mine.crt"].read_bytes().replace(b"M", b"!"))
    return files | {"nowhere": tmp_path / "nowhere", "folder": tmp_path}


@pytest.mark.parametrize(("certificate", "key"), [("mine.crt", "mine.key"), ("both", None)])
def test_what_can_be_used_is_taken(files, certificate, key):
    check_tls(ServerSettings(tls_certificate=files[certificate], tls_key=files.get(key)))
    check_tls(ServerSettings())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_left_to_who_serves(files, tmp_path):
    """Such as a shell's `<(...)`: who reads one to check it leaves nothing."""
    os.mkfifo(tmp_path / "pipe")
    check_tls(ServerSettings(tls_certificate=tmp_path / "pipe", tls_key=files["mine.key"]))
    check_tls(ServerSettings(tls_certificate=files["mine.crt"], tls_key=tmp_path / "pipe"))


@pytest.mark.parametrize(
    ("certificate", "key", "told"),
    [
        ("nowhere", None, "tls_certificate: {nowhere}: No such file"),
        ("folder", None, "tls_certificate: {folder}: Is a directory"),
        ("notes", None, "tls_certificate: {notes} holds no certificate in PEM form"),
        ("mine.crt", None, r"tls_key is not given, and {mine.crt} \(tls_certificate\) holds no"),
        ("mine.crt", "nowhere", "tls_key: {nowhere}: No such file"),
        ("mine.crt", "notes", "tls_key: {notes} holds no private key in PEM form"),
        ("mine.crt", "other.key", "tls_key: {other.key} is not the key of the first certificate"),
        ("cut", "mine.key", "tls_certificate, tls_key: {cut} and {mine.key} cannot be used: "),
    ],
)
def test_what_cannot_be_used_is_named(files, certificate, key, told):
    settings = ServerSettings(tls_certificate=files[certificate], tls_key=files.get(key))
    told = re.sub(r"\{([\w.]+)\}", lambda name: re.escape(str(files[name[1]])), told)
    with pytest.raises(ConfigError, match=told):
        check_tls(settings)
