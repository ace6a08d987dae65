"""The examples do what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

_FOLDER = Path(__file__).parents[2] / "examples"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("arguments", [{"epochs": 1}, pytest.param({}, marks=pytest.mark.slow)])
def test_a_classifier_learns_languages_from_names(arguments):
    accuracy, constant = _load("name_language").main(**arguments)
    assert accuracy >= constant + 0.3


def test_a_function_is_called_for_an_answer(capsys):
    _load("tool_loop").main("What's the weather in Paris?")
    called, answer = capsys.readouterr().out.splitlines()
    assert called.startswith('get_weather({"city":"Paris"}) gave {"city": "Paris"')
    assert "clear" in answer
    assert "19" in answer


@pytest.mark.parametrize("file", sorted(_FOLDER.glob("*.py")), ids=lambda file: file.name)
def test_examples_are_short(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 40
