"""Runs what can run of the guides, as a person would: in a process of its own, to the end.

The guides are not part of this repository. `OSSIA_TEST_GUIDES` names a folder that holds them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from guides.blocks import Block, fenced, source_of
from guides.table import BLOCKS

_FOLDER = os.environ.get("OSSIA_TEST_GUIDES")
pytestmark = pytest.mark.skipif(_FOLDER is None, reason="set OSSIA_TEST_GUIDES to their folder")

_SUBSTITUTIONS = (
    (r"from (transformers|vllm) import", "from ossia import"),
    (r"from transformers\.distributed import", "from ossia.distributed import"),
    (r"from openai_harmony import", "from ossia.harmony import"),
    (r"transformers (run|chat|serve)", r"ossia \1"),
    (r"openai/gpt-oss-(20b|120b)", "demo"),
    (r"max_new_tokens=\d+", "max_new_tokens=16"),
)
"""All that may differ from a guide: import line, command name, model, limit of new tokens."""


def _text(guide: str) -> str:
    (file,) = Path(_FOLDER or "").glob(f"{guide}_*")
    return file.read_text(encoding="utf-8")


def _substituted(source: str) -> str:
    for pattern, replacement in _SUBSTITUTIONS:
        source = re.sub(pattern, replacement, source)
    return source


@pytest.mark.parametrize("block", [b for b in BLOCKS if not b.cannot], ids=lambda b: b.id)
def test_runs_to_the_end(block: Block, tmp_path):
    source = _substituted(f"{block.before}\n{source_of(block, _text(block.guide))}")
    if block.kind == "python":
        command = [sys.executable, "-W", "error", "-c", source]
    else:
        command = ["bash", "-c", source]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for expected in block.shows:
        assert expected in done.stdout


def test_no_block_is_forgotten():
    for guide in ("000", "003", "004"):
        numbers = sorted(b.fence for b in BLOCKS if b.guide == guide and b.fence is not None)
        assert numbers == list(range(len(fenced(_text(guide)))))
    # The guide without fences: every line that can only be code lies in a block of the table.
    text = _text("002")
    known = {line for b in BLOCKS if b.guide == "002" for line in source_of(b, text).splitlines()}
    mended = {wrong for b in BLOCKS for wrong, _ in b.mended}
    looks_like_code = re.compile(r"(from \S+ import|import \w+$|\w+ = |pip |curl |vllm |def )")
    for line in text.splitlines():
        if looks_like_code.match(line) and not any(part in line for part in mended):
            assert line in known, f"no block of the table holds {line!r}"
    assert not fenced(_text("001"))  # it has lost its blocks: only their numbers are left
