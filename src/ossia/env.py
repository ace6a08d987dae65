"""Every environment variable that Ossia reads, each parsed in one place.

| variable      | meaning                                             | default                       |
|---------------|-----------------------------------------------------|-------------------------------|
| `OSSIA_CACHE` | absolute folder for what Ossia unpacks or builds    | `$XDG_CACHE_HOME/ossia`, else |
|               |                                                     | `~/.cache/ossia`              |
| `OSSIA_CPU_ISA` | instruction set of the CPU kernels: portable,   | the best one of the machine   |
|               | avx2, avx512_vnni, avx512_bf16, amx, neon_dotprod; |                               |
|               | off                                                |                               |
| `OSSIA_CPU_PIN` | 0: threads of the CPU kernels are not kept to   | 1                             |
|               | cores of their own                                 |                               |
| `OSSIA_DEBUG` | 1: the command line shows tracebacks of errors      | 0                             |
| `OSSIA_LOG`   | what the command line logs: debug, info, warning    | nothing                       |
|               | or error                                            |                               |
| `OSSIA_SERVE_*` | any option of `ossia serve`, such as        | none                          |
|               | `OSSIA_SERVE_PORT`; see server/options.py           |                               |
| `EXA_API_KEY` | of Exa, for `ossia serve --web-search exa`        | none                          |
| `NO_COLOR`    | not empty: plain text on terminals, as TERM=dumb    |                               |
| `OPENAI_API_KEY` | for the servers that `ossia chat` talks to   | none                          |
|               | and `ossia bench serve` measures                    |                               |

`OMP_NUM_THREADS` and `MKL_NUM_THREADS`, which torch reads, keep the command line from choosing; the
CPU kernels use as many threads as torch, within the process's cores and its container's quota.
The command line sets `OMP_WAIT_POLICY`, which torch's threads heed, unless it is set.
`ossia serve` sets `PYTHONMALLOC`, which Python reads, unless it is set (server/allocator.py).
The hub's client reads its own (`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`, ...).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from ossia.errors import ConfigError

_CPU_ISAS = ("portable", "avx2", "avx512_vnni", "avx512_bf16", "amx", "neon_dotprod", "off")
_LOG_LEVELS = ("debug", "info", "warning", "error")


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


def cpu_isa(environ: Mapping[str, str] = os.environ) -> str | None:
    """The instruction set that CPU kernels are to use, or "off"; None is the best one.

    Raises:
        ConfigError: OSSIA_CPU_ISA names none.
    """
    isa = environ.get("OSSIA_CPU_ISA", "").lower() or None
    if isa is not None and isa not in _CPU_ISAS:
        raise ConfigError(f"OSSIA_CPU_ISA={isa!r} is not one of {', '.join(_CPU_ISAS)}")
    return isa


def cpu_pin(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether threads of the CPU kernels are to be kept to cores of their own.

    Raises:
        ConfigError: OSSIA_CPU_PIN is neither 0 nor 1.
    """
    pin = environ.get("OSSIA_CPU_PIN") or "1"
    if pin not in ("0", "1"):
        raise ConfigError(f"OSSIA_CPU_PIN={pin!r} is neither 0 nor 1")
    return pin == "1"


def debug(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the command line shows tracebacks.

    An unknown value counts as yes: this is read while another error is being reported.
    """
    return environ.get("OSSIA_DEBUG", "") not in ("", "0")


def log_level(environ: Mapping[str, str] = os.environ) -> str | None:
    """From which level on the command line logs; None logs nothing.

    Raises:
        ConfigError: OSSIA_LOG names no level.
    """
    level = environ.get("OSSIA_LOG", "").lower() or None
    if level is not None and level not in _LOG_LEVELS:
        raise ConfigError(f"OSSIA_LOG={level!r} is not one of {', '.join(_LOG_LEVELS)}")
    return level


def colour(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether terminals are shown more than plain text."""
    return not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def api_key(environ: Mapping[str, str] = os.environ) -> str | None:
    """What servers with an OpenAI API are told; None tells them nothing."""
    return environ.get("OPENAI_API_KEY") or None


def let_waiting_threads_sleep(environ: MutableMapping[str, str] = os.environ) -> None:
    """Have torch's threads sleep between operations; to be called before torch is imported.

    They would spin for milliseconds after each, on the very cores that the CPU kernels' threads need.
    """
    environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def threads_chosen(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the user has told torch how many threads to use."""
    return bool(environ.get("OMP_NUM_THREADS") or environ.get("MKL_NUM_THREADS"))
