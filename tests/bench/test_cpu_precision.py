"""benchmarks/cpu_precision.py: what it prints, and what it means by a divergence."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from support import cpu_kernels

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module."""
    file = ROOT / "benchmarks" / "cpu_precision.py"
    spec = importlib.util.spec_from_file_location("cpu_precision", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for their names
    spec.loader.exec_module(module)
    return module


def _tables(text: str) -> list[list[list[str]]]:
    return [
        [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in part.splitlines()]
        for part in text.strip().split("\n\n")
    ]


def test_a_divergence_by_hand(script):
    plain = torch.tensor([[0.0, math.log(3)], [5.0, 5.0]])
    rounded = torch.tensor([[0.0, 0.0], [7.0, 7.0]])
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert script.divergences(plain, rounded).tolist() == pytest.approx([expected, 0.0], abs=1e-7)


def test_skills_take_turns(script):
    prompts = script.skill_prompts(11, 3)
    assert len(set(prompts)) == 11
    assert prompts == script.skill_prompts(11, 3)
    assert prompts[:8] == script.skill_prompts(8, 3)


def test_all_tables(script, capsys, monkeypatch):
    cpu_kernels.needed()
    words = ["random:tiny", "--prompts", "2", "--length", "9", "--tokens", "4"]
    monkeypatch.setattr(sys, "argv", ["cpu_precision.py", *words])
    script.main()
    kv, answers, logits = _tables(capsys.readouterr().out)
    assert tuple(kv[0]) == script.KV_HEAD
    (kind, _, prompts, mean, largest, tokens), *rest = kv[2:]
    assert (kind, prompts, tokens, rest) == ("int8", "2", "8", [])
    assert 0 < float(mean) <= float(largest) < 0.1
    assert tuple(answers[0]) == script.ANSWERS_HEAD
    assert tuple(logits[0]) == script.LOGITS_HEAD
    assert [tuple(row[:2]) for row in answers[2:]] == list(script.COMBINATIONS)
    assert [row[3] for row in answers[2:]] == ["2"] * 3
    assert [tuple(row[:2]) for row in logits[2:]] == list(script.COMBINATIONS)
    for *_, mean, largest, tokens in logits[2:]:
        assert 0 < float(mean) <= float(largest) < 0.1  # something was rounded, and only a little
        assert tokens == "8"


def test_the_page_has_these_tables(script):
    page = (ROOT / "docs" / "cpu.md").read_text(encoding="utf-8")
    section = page.split("\n## What the roundings do to the logits\n")[1].split("\n## ")[0]
    for head in (script.KV_HEAD, script.ANSWERS_HEAD, script.LOGITS_HEAD):
        assert (
            f"| {' | '.join(f'`{name}`' if name[0] == '-' else name for name in head)} |" in section
        )
