"""Write the API reference from the docstrings: `make docs`, then open build/docs/index.html."""

from __future__ import annotations

import sys
from pathlib import Path

import pdoc

import ossia

_MODULES = ("ossia", "ossia.harmony")


def write(folder: Path) -> None:
    """One page a public module, from docstrings in Google's form."""
    for name in ossia.__all__:
        # Public names load on first use; pdoc looks only for those that are there.
        setattr(ossia, name, getattr(ossia, name))
    pdoc.render.configure(docformat="google", search=False)
    pdoc.pdoc(*_MODULES, output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build/docs"))
