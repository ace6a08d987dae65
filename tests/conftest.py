"""Settings for every test: deterministic torch, poisoned memory, no way out to the network."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

# huggingface_hub reads these once, at its import. Nobody listens on the discard port.
_hub_cache = tempfile.TemporaryDirectory(prefix="ossia-test-hub-")
os.environ["HF_HOME"] = _hub_cache.name
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import pytest
import torch
from hypothesis import HealthCheck, settings

from ossia.kernels.cpu import kernel_library

# Another library of CPU kernels than the installed one: kernels/cpu/emulate_amx.sh builds one.
if library := os.environ.get("OSSIA_TEST_CPU_LIBRARY"):
    kernel_library._FILE = Path(library)

# Two xdist workers share two cores.
torch.set_num_threads(1)
# Uninitialised memory is filled with NaN, so an element that nobody wrote fails its test.
torch.use_deterministic_algorithms(True)
torch.utils.deterministic.fill_uninitialized_memory = True

# A shell's background jobs are started with Ctrl-C ignored, and would hand that on to their children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# CI always tries the same examples, so that what it says of a change is about the change;
# everybody else tries new ones each time.
settings.register_profile(
    "ossia",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ossia")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Tests draw the same random numbers whichever runs first."""
    torch.manual_seed(0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests say why they are skipped."""
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):  # keywords hold the names of folders, too
            item.add_marker(skip)
