"""docs/gpu.md: its commands are accepted, its options and figures are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ossia.bench.roofline import weight_bytes
from ossia.checkpoint.spec import TensorKind, tensor_specs
from ossia.cli.options import Fp8Weights
from ossia.config import PRESETS
from support.command_lines import accept, command_lines

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
COMMANDS = command_lines(PAGE)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("ossia ")])
def test_commands_are_accepted(line: str):
    accept(line)


def test_scripts_are_there():
    lines = [shlex.split(line) for line in COMMANDS if not line.startswith("ossia ")]
    assert len(lines) == 3
    for words in lines:
        module = words[words.index("-m") + 1]
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()


def test_every_value_of_the_option_is_told():
    assert re.findall(r"^\| (?:`--fp8-weights`)? ?\| `([\w,]+)`", PAGE, re.MULTILINE) == list(
        Fp8Weights
    )


def test_the_contents_name_every_section():
    headings = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    anchors = [(name, name.lower().replace(" ", "-")) for name in headings]
    assert re.findall(r"\[([^\]]+)\]\(#([^)]+)\)", PAGE) == anchors


@pytest.mark.parametrize(("column", "name"), [(0, "20b"), (1, "120b")])
def test_the_memory_is_that_of_the_shapes(column: int, name: str):
    rows = re.findall(r"^\| .+ \| ([\d.]+) GB \| ([\d.]+) GB \|$", PAGE, re.MULTILINE)
    told = [float(row[column]) for row in rows]
    config = PRESETS[name]()
    expected: list[float] = []
    for kind in (TensorKind.UNEMBEDDING, TensorKind.ATTENTION):
        matrices = [
            spec.shape for spec in tensor_specs(config).values()
            if spec.kind is kind and len(spec.shape) == 2
        ]  # fmt: skip
        weights = sum(rows * columns for rows, columns in matrices)
        expected += [2 * weights, weights + 4 * sum(rows for rows, _ in matrices)]
    for parts in ((), ("unembedding",), ("unembedding", "attention")):
        expected.append(weight_bytes(config, 2, 1, fp8=parts))
    assert told == [round(nbytes / 1e9, 2) for nbytes in expected]
