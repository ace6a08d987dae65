"""What a measurement was made with: versions, commit, day, device. So that a pasted result says it."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import ossia

# As the report calls them and as nvidia-smi does; clocks in MHz.
_SMI_FIELDS = {
    "driver": "driver_version",
    "sm_clock_mhz": "clocks.sm",
    "max_sm_clock_mhz": "clocks.max.sm",
}


def software() -> dict[str, Any]:
    """Of this process; loads no torch."""
    return {
        "ossia": ossia.__version__,
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "python": platform.python_version(),
        "torch": _version("torch"),
    }


def hardware(device: str) -> dict[str, Any]:
    """Of a device, as torch calls it."""
    import torch

    from ossia.api.diagnosis import processor_name
    from ossia.kernels.cuda.capability import nvidia_capability

    place = torch.device(device)
    if place.type == "cuda":
        capability = nvidia_capability(place)
        uuid = getattr(torch.cuda.get_device_properties(place), "uuid", None)
        return {
            "type": "cuda",
            "name": torch.cuda.get_device_name(place),
            "capability": capability and "{}.{}".format(*capability),
            "cuda": torch.version.cuda,
            "triton": _version("triton"),
            **_driver_and_clocks(str(uuid)),
        }
    return {
        "type": "cpu",
        "name": processor_name(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _driver_and_clocks(uuid: str) -> dict[str, Any]:
    """What `nvidia-smi` says of a GPU at this moment; None where it is not, or does not say."""
    command = ["nvidia-smi", f"--id=GPU-{uuid}", f"--query-gpu={','.join(_SMI_FIELDS.values())}"]
    try:
        done = subprocess.run(
            [*command, "--format=csv,noheader,nounits"],
            capture_output=True, text=True, check=True, timeout=10,
        )  # fmt: skip
        driver, clock, most = (word.strip() for word in done.stdout.split(","))
    except (OSError, subprocess.SubprocessError, ValueError):
        return dict.fromkeys(_SMI_FIELDS)
    numbers = (int(word) if word.isdecimal() else None for word in (clock, most))
    return dict(zip(_SMI_FIELDS, (driver, *numbers), strict=True))


def commit() -> str | None:
    """Of the source tree that the package runs from, marked "+" if it was changed since.

    None for a package that was installed, or where git is not.
    """
    folder = Path(ossia.__file__).parent
    try:
        # A package that merely lies below somebody's repository is not of it.
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
