"""Rules of the house that no linter knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ossia

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "ossia"

# Modules that may be longer than 400 lines, each with its reason.
LONG_MODULES: dict[str, str] = {}


def _modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def test_no_module_is_too_long():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for folder in (PACKAGE, ROOT / "demo")
        for path in _modules(folder)
    }
    too_long = {name for name, length in lengths.items() if length > 400}
    assert too_long == set(LONG_MODULES)


def test_the_architecture_names_every_folder_and_every_top_level_module():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for path in PACKAGE.iterdir():
        if path.name.startswith("__"):
            continue
        assert f"`{path.stem}/`" in text or f"`{path.stem}`" in text, path.name


def test_paths_named_in_the_architecture_exist():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = {
        word.strip("`:,.;()") for word in text.split() if "/" in word and word.strip("`:,.;()")
    }
    modules = {name for name in named if name.endswith(".py")}
    assert modules
    missing = [
        name for name in modules if not (PACKAGE / name).exists() and not (ROOT / name).exists()
    ]
    assert not missing


def test_every_public_name_loads_and_unknown_ones_do_not():
    for name in ossia.__all__:
        assert getattr(ossia, name) is not None
    assert set(dir(ossia)) == set(ossia.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ossia.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "module", ["ossia", "ossia.cli.main", "ossia.harmony", "ossia.tokenizer", "ossia.config"]
)
def test_importing_loads_no_torch(module):
    heavy = "{'torch', 'numpy', 'transformers', 'openai_harmony', 'huggingface_hub'}"
    code = f"import sys, {module}; print(*{heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_packaged_data_is_at_most_8_megabytes():
    """Sources and what a compiler made of them are no data."""
    code = {".py", ".so", ".cpp", ".h", ".inl"}
    data = [
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in code and "__pycache__" not in path.parts
    ]
    assert sum(path.stat().st_size for path in data) <= 8_000_000
