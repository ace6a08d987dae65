"""Every environment variable that Ossia reads, each parsed in one place.

| variable      | meaning                                             | default                       |
|---------------|-----------------------------------------------------|-------------------------------|
| `OSSIA_CACHE` | absolute folder for what Ossia unpacks or builds    | `$XDG_CACHE_HOME/ossia`, else |
|               |                                                     | `~/.cache/ossia`              |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ossia.errors import ConfigError


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where unpacked and compiled files are kept; the folder may not exist yet.

    Raises:
        ConfigError: OSSIA_CACHE is not an absolute path.
    """
    if chosen := environ.get("OSSIA_CACHE"):
        folder = Path(chosen).expanduser()
        if not folder.is_absolute():
            raise ConfigError(f"OSSIA_CACHE={chosen!r} is not an absolute path")
        return folder
    # A relative XDG_CACHE_HOME is to be ignored (XDG Base Directory Specification 0.8).
    xdg = Path(environ.get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else Path.home() / ".cache") / "ossia"
