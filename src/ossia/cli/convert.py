"""`ossia convert`: a checkpoint in another layout, expert format or dtype."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ossia.cli.options import DtypeOption, Experts, Layout, ModelArgument, RevisionOption
from ossia.cli.output import Output

EXAMPLES = (
    "ossia convert openai/gpt-oss-20b ./original --layout original",
    "ossia convert ./finetuned ./packed --experts mxfp4",
    "ossia convert random:tiny ./tiny",
)


def convert(
    model: ModelArgument,
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to create.")],
    layout: Annotated[
        Layout | None,
        typer.Option(
            help="hf (for transformers) or original (for gpt_oss). [default: the model's]"
        ),
    ] = None,
    experts: Annotated[
        Experts | None,
        typer.Option(help="mxfp4 packs the experts, dense expands them. [default: the model's]"),
    ] = None,
    dtype: DtypeOption = "auto",
    revision: RevisionOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a checkpoint that is there.")
    ] = False,
) -> None:
    """Write a model in another layout, expert format or dtype.

    What is not asked to change is copied byte for byte.
    """
    from ossia.api.conversion import convert_model
    from ossia.api.model_source import find_model
    from ossia.api.placement import float_dtype

    output = Output()
    with output.progress() as progress:
        folder = convert_model(
            find_model(model, revision=revision, progress=progress),
            target,
            layout=None if layout is None else layout.value,
            experts=None if experts is None else experts.value,
            dtype=float_dtype(dtype),
            overwrite=overwrite,
            progress=progress,
        )
    output.line(str(folder))
