"""Every public name can be imported and says what it is."""

from __future__ import annotations

import inspect

import pytest

import ossia


@pytest.mark.parametrize("name", [n for n in ossia.__all__ if n != "__version__"])
def test_public_names_have_docstrings(name):
    thing = getattr(ossia, name)
    assert inspect.getdoc(thing)
    if not inspect.isclass(thing):
        return
    for method_name, method in inspect.getmembers(thing, inspect.isroutine):
        home = getattr(method, "__module__", None) or ""
        if home.startswith("ossia") and not method_name.startswith("_"):
            assert inspect.getdoc(method), f"{name}.{method_name} has no docstring"


def test_dir_lists_the_public_names():
    assert set(dir(ossia)) == set(ossia.__all__)
