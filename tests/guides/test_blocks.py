"""Runs what can run of the guides, as a person would: in a process of its own, to the end.

The guides are not part of this repository. `OSSIA_TEST_GUIDES` names a folder that holds them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from guides.blocks import Block, fenced, source_of
from guides.running import PATH, run_to_the_end
from guides.table import BLOCKS
from support.serve_process import serving

_FOLDER = os.environ.get("OSSIA_TEST_GUIDES")
pytestmark = pytest.mark.skipif(_FOLDER is None, reason="set OSSIA_TEST_GUIDES to their folder")

_SUBSTITUTIONS = (
    (r"from (transformers|vllm) import", "from ossia import"),
    (r"from transformers\.distributed import", "from ossia.distributed import"),
    (r"from openai_harmony import", "from ossia.harmony import"),
    (r"(transformers|vllm) (run|chat|serve)", r"ossia \2"),
    (r"openai/gpt-oss-(20b|120b)", "demo"),
    (r"max_new_tokens=\d+", "max_new_tokens=16"),
)
"""All that may differ from a guide, besides a server's port: import line, command name, model, limit
of new tokens."""


def _text(guide: str) -> str:
    (file,) = Path(_FOLDER or "").glob(f"{guide}_*")
    return file.read_text(encoding="utf-8")


def _substituted(source: str) -> str:
    for pattern, replacement in _SUBSTITUTIONS:
        source = re.sub(pattern, replacement, source)
    return source


def _blocks(*kinds: str) -> pytest.MarkDecorator:
    blocks = [block for block in BLOCKS if block.kind in kinds and not block.cannot]
    return pytest.mark.parametrize("block", blocks, ids=lambda block: block.id)


@_blocks("python", "shell")
def test_runs_to_the_end(block: Block, tmp_path):
    _run_to_the_end(block, _source(block), tmp_path)


@_blocks("server")
def test_serves_until_it_is_stopped(block: Block, tmp_path):
    # The port of the guides may be taken.
    environ = {"OSSIA_SERVE_PORT": "0", "PATH": PATH}
    with serving(["bash", "-c", f"exec {_source(block)}"], tmp_path / "log", environ) as address:
        assert urlopen(f"{address}/v1/models").status == 200


@_blocks("client")
def test_asks_a_server(block: Block, server: str, tmp_path):
    source = _source(block)
    assert "localhost:8000" in source
    _run_to_the_end(block, source.replace("localhost:8000", urlsplit(server).netloc), tmp_path)


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[str]:
    command = [sys.executable, "-m", "ossia", "serve", "--port", "0"]
    with serving(command, tmp_path_factory.mktemp("server") / "log") as address:
        yield address


def _source(block: Block) -> str:
    return _substituted(f"{block.before}\n{source_of(block, _text(block.guide))}").strip()


def _run_to_the_end(block: Block, source: str, folder: Path) -> None:
    printed = run_to_the_end(source, folder, python=block.kind == "python", typed=block.typed)
    for expected in block.shows:
        assert expected in printed


def test_no_block_is_forgotten():
    for guide in ("000", "003", "004"):
        numbers = sorted(b.fence for b in BLOCKS if b.guide == guide and b.fence is not None)
        assert numbers == list(range(len(fenced(_text(guide)))))
    # The guide without fences: every line that can only be code lies in a block of the table.
    text = _text("002")
    blocks = [replace(block, mended=()) for block in BLOCKS if block.guide == "002"]
    known = {line for block in blocks for line in source_of(block, text).splitlines()}
    looks_like_code = re.compile(r"(from \S+ import|import \w+$|\w+ = |pip |curl |vllm |def )")
    for line in text.splitlines():
        if looks_like_code.match(line):
            assert line in known, f"no block of the table holds {line!r}"
    assert not fenced(_text("001"))  # it has lost its blocks: only their numbers are left
