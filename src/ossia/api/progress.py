"""progress_bar: how many of many are done, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    what: str, total: int, *, shown: bool = True
) -> Generator[Callable[[int, int], None], None, None]:
    """A bar where a person looks on: in a terminal or a notebook; else nothing.

    Args:
        what: What is counted.
        total: How many there are.
        shown: False shows nothing anywhere.

    Yields:
        To be called with (how many more are done, how many more tokens came).
    """
    if not shown:
        yield lambda done, tokens: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[tokens]} tokens"),
        console=console,
        disable=not (console.is_terminal or console.is_jupyter),
    )
    with bar:
        task = bar.add_task(what, total=total, tokens=0)
        count = 0

        def advance(done: int, tokens: int) -> None:
            nonlocal count
            count += tokens
            bar.update(task, advance=done, tokens=count)

        yield advance
