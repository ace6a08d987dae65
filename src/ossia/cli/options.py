"""Flags that several commands share, as types."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Effort(StrEnum):
    """How long to think."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Layout(StrEnum):
    """How a checkpoint names and stores its tensors."""

    HF = "hf"
    ORIGINAL = "original"


class Experts(StrEnum):
    """How a checkpoint stores its experts."""

    MXFP4 = "mxfp4"
    DENSE = "dense"


_MODEL_HELP = (
    "demo, random:20b|120b|tiny, a checkpoint folder, or a hub id such as openai/gpt-oss-20b."
)

ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL_HELP)]
ChatModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=_MODEL_HELP)]
FirstWord = Annotated[
    str | None, typer.Argument(metavar="MODEL", help=f"{_MODEL_HELP} Left out: demo.")
]
SecondWord = Annotated[
    str | None, typer.Argument(metavar="PROMPT|-", help="The text, or - to read standard input.")
]

EffortOption = Annotated[Effort, typer.Option("--effort", "-e", help="How long to think.")]
InstructionsOption = Annotated[
    str | None, typer.Option("--instructions", "-i", help="How to behave: the developer message.")
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option("--max-tokens", "-m", help="Stop after so many tokens, reasoning included."),
]
TemperatureOption = Annotated[
    float, typer.Option("--temperature", "-t", help="0 always takes the likeliest token.")
]
TopPOption = Annotated[
    float, typer.Option("--top-p", help="Draw from the likeliest tokens of this total probability.")
]
SeedOption = Annotated[
    int | None, typer.Option("--seed", "-s", help="Makes the answer repeatable.")
]
StopOption = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="End the answer before this text; repeatable."),
]
ShowReasoningOption = Annotated[
    bool, typer.Option("--show-reasoning", "-r", help="Print the reasoning before the answer.")
]
NoReasoningOption = Annotated[
    bool, typer.Option("--no-reasoning", help="Answer at once, without thinking.")
]
RawOption = Annotated[bool, typer.Option("--raw", help="Print harmony tokens as text.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", show_default=True)
]
DtypeOption = Annotated[
    str,
    typer.Option("--dtype", help="auto (the checkpoint's), bfloat16, float16, float32, float64."),
]
RevisionOption = Annotated[
    str | None, typer.Option("--revision", help="Branch, tag or commit of a hub repository.")
]
CacheOption = Annotated[
    str | None, typer.Option("--cache-dir", help="Where hub files are kept. [default: the hub's]")
]
