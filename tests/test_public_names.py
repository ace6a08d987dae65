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


@pytest.mark.parametrize("name", [n for n in ossia.__all__ if n != "__version__"])
def test_public_signatures_are_typed(name):
    thing = getattr(ossia, name)
    routines = dict(inspect.getmembers(thing, inspect.isroutine)) if inspect.isclass(thing) else {}
    for method_name, method in {**routines, "": thing}.items():
        home = getattr(method, "__module__", None) or ""
        if not home.startswith("ossia") or not inspect.isroutine(method):
            continue
        if method_name.startswith("_") and method_name != "__call__":
            continue
        signature = inspect.signature(method)
        for parameter in signature.parameters.values():
            if parameter.name not in ("self", "cls"):
                assert parameter.annotation is not parameter.empty, f"{name}.{method_name}"
        assert signature.return_annotation is not signature.empty, f"{name}.{method_name}"


def test_dir_lists_the_public_names():
    assert set(dir(ossia)) == set(ossia.__all__)
