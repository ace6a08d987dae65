"""Options that commands of `ossia bench` share, and what they were given."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        help="demo, random:20b|120b|tiny, a checkpoint folder, or a downloaded hub id.",
    ),
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Of torch on the CPU. [torch's choice]")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Of random prompts.")]
ProfileOption = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        metavar="FILE",
        help="Afterwards run a part of it once more and write a trace for chrome://tracing.",
    ),
]
BatchOption = Annotated[str, typer.Option("--batch", help="Sequences side by side; 1,8 is both.")]
ChunkOption = Annotated[
    int | None,
    typer.Option("--chunk", help="Prompt tokens of a forward pass. [8192 on CUDA, 2048 on CPU]"),
]


def settings_of(flags: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, as JSON values."""
    return {
        name: str(value) if isinstance(value, Path | StrEnum) else value
        for name, value in flags.items()
        if name != "as_json"
    }
