"""Environment variables: defaults, and nonsense refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ossia.env import cache_folder
from ossia.errors import ConfigError


def test_the_cache_folder_is_where_the_user_says() -> None:
    assert cache_folder({"OSSIA_CACHE": "/a/b", "XDG_CACHE_HOME": "/x"}) == Path("/a/b")
    assert cache_folder({"OSSIA_CACHE": "~/b"}) == Path.home() / "b"


def test_the_cache_folder_follows_the_desktop_standard() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/ossia")
    assert cache_folder({"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache" / "ossia"
    assert cache_folder({}) == Path.home() / ".cache" / "ossia"


def test_a_relative_cache_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="OSSIA_CACHE='here' is not an absolute path"):
        cache_folder({"OSSIA_CACHE": "here"})
