"""Finding the code blocks of a guide: fenced ones by number, unfenced ones by their first and last line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_FENCED = re.compile(r"```\w*[ \n](.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One code block and what becomes of it.

    Args:
        guide: Beginning of the guide's file name.
        name: Short, for people.
        fence: Number of the fenced block, counted from 0; None where the guide has no fences.
        first: First line of an unfenced block.
        last: Last line of an unfenced block: the first such line behind `first`.
        occurrence: Which `first` line, counted from 0.
        kind: "python", "shell", "server" (a command that runs until it is stopped), "client" (a
            command that asks a server) or "file" (what is to be put into one).
        typed: What a person types into it.
        cannot: Why it cannot run; empty if it runs.
        flattened: The guide has lost the block's line ends; they are put back.
        before: Lines that the guide's earlier snippets have run.
        mended: The guide's own mistakes: what stands there, what must stand there.
        shows: What the output must hold.
        scene: The server that this starts, asks, or prepares, where there are several.
        saved_as: Name of the file that it is to be put into.
    """

    guide: str
    name: str
    fence: int | None = None
    first: str = ""
    last: str = ""
    occurrence: int = 0
    kind: str = "python"
    typed: str = ""
    cannot: str = ""
    flattened: bool = False
    before: str = ""
    mended: tuple[tuple[str, str], ...] = ()
    shows: tuple[str, ...] = field(default=())
    scene: str = ""
    saved_as: str = ""

    @property
    def id(self) -> str:
        """For test reports."""
        return f"{self.guide}-{self.name}".replace(" ", "-")


def fenced(text: str) -> list[str]:
    """Contents of all fenced blocks."""
    return _FENCED.findall(text)


def source_of(block: Block, text: str) -> str:
    """The block as the guide prints it, with its own mistakes mended."""
    found = fenced(text)[block.fence] if block.fence is not None else _unfenced(block, text)
    for wrong, right in block.mended:
        assert wrong in found, f"{block.id}: the guide no longer says {wrong!r}"
        found = found.replace(wrong, right)
    return _with_line_ends(found.strip()) if block.flattened else found


def _unfenced(block: Block, text: str) -> str:
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line == block.first]
    start = starts[block.occurrence]
    end = next(n for n in range(start, len(lines)) if lines[n].startswith(block.last))
    return "\n".join(lines[start : end + 1])


def _with_line_ends(source: str) -> str:
    """Statements of a block whose lines were joined by blanks: each is the longest that compiles."""
    statements: list[str] = []
    words = source.split(" ")
    while words:
        size = next(n for n in range(len(words), 0, -1) if _compiles(" ".join(words[:n])))
        statements.append(" ".join(words[:size]))
        words = words[size:]
    return "\n".join(statements)


def _compiles(source: str) -> bool:
    try:
        compile(source, "guide", "exec")
    except SyntaxError:
        return False
    return True
