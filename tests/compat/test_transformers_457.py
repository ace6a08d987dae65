"""The comparisons with transformers once more, with the last release of its version 4.

Two versions do not fit into one process, so each file of tests runs in one of its own, in which a
folder with transformers 4.57 comes first. `make test-transformers457` makes that folder and names
it in `OSSIA_TEST_TRANSFORMERS_457`. What version 4 does otherwise is said where it is skipped
(`only_5`) or computed (`IS_4`); tokenizers and downloads are compared with version 5 only.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_FOLDER = os.environ.get("OSSIA_TEST_TRANSFORMERS_457")
_REASON = "OSSIA_TEST_TRANSFORMERS_457 names no folder; see `make test-transformers457`"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(_FOLDER is None, reason=_REASON),
]
_TESTS = Path(__file__).parents[1]
_SOURCE = _TESTS.parent / "src"


def _run(*arguments: str) -> str:
    path = os.pathsep.join((_FOLDER or "", str(_SOURCE)))
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        cwd=_TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
    return done.stdout


def test_the_folder_holds_that_version():
    assert _run("-c", "import transformers; print(transformers.__version__)").startswith("4.57.")


@pytest.mark.parametrize(
    "file",
    [
        "test_config.py",
        "checkpoint/test_transformers_exchange.py",
        "model/test_parity.py",
        "api/models/test_cache.py",
        "api/models/test_causal_lm.py",
        "api/models/test_forward_parity.py",
        "api/models/test_manners.py",
        "api/models/test_saving.py",
        "api/generation/test_parity.py",
        "api/pipelines/test_classification.py",
        "api/pipelines/test_text_generation.py",
    ],
)
def test_what_is_compared_with_version_5_holds_with_version_4(file):
    summary = _run("-m", "pytest", "-q", "--no-showlocals", "-m", "not slow", f"tests/{file}")
    assert " passed" in summary
