"""docs/security.md and the classes of attack here are the same."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
CLASS = re.compile(r'^class (Test\w+):\n    """', re.MULTILINE)


def test_every_attack_has_a_test_and_every_test_an_attack():
    here = [path.read_text() for path in Path(__file__).parent.glob("test_*.py")]
    classes = [name for text in here for name in CLASS.findall(text)]
    listed = re.findall(r"\| `(Test\w+)` \|$", PAGE, re.MULTILINE)
    assert sorted(listed) == sorted(classes)
    assert len(set(classes)) == len(classes)


def test_files_that_it_names_exist():
    for path in re.findall(r"`(tests/\S+?)`", PAGE):
        assert (ROOT / path).exists(), path
