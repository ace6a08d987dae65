"""Write the API reference from the docstrings: `make docs`, then open build/docs/index.html."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pdoc

import ossia

MODULES = ("ossia", "ossia.distributed", "ossia.errors", "ossia.harmony")


def write(folder: Path) -> None:
    """One page a public module, from docstrings in Google's form."""
    for name in ossia.__all__:
        # Public names load on first use; pdoc looks only for those that are there.
        setattr(ossia, name, getattr(ossia, name))
    pdoc.doc.Class.own_members = property(_own_members)
    pdoc.render.configure(
        docformat="google",
        search=False,
        show_source=False,
        template_directory=Path(__file__).parent / "templates",
    )
    pdoc.pdoc(*MODULES, output_directory=folder)


def _own_members(shown: pdoc.doc.Class) -> list[pdoc.doc.Doc]:
    """Also what a class has from ours without a place of their own: no page would show it else."""
    public = set(_public_classes())
    return [
        member
        for member in shown.members.values()
        if member.taken_from[0].split(".")[0] == "ossia"
        and (
            (home := (member.taken_from[0], member.taken_from[1].rpartition(".")[0])) not in public
            or home == (shown.obj.__module__, shown.obj.__qualname__)
        )
    ]


def _public_classes() -> Iterator[tuple[str, str]]:
    """Home module and name of each class that has a place in the reference."""
    for module in map(import_module, MODULES):
        for name in getattr(module, "__all__", vars(module)):
            if isinstance(one := getattr(module, name), type):
                yield one.__module__, one.__qualname__


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/docs"))
