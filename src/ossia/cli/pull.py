"""`ossia pull`: download a checkpoint from the Hugging Face Hub."""

from __future__ import annotations

from typing import Annotated

import typer

from ossia.cli.options import CacheOption, RevisionOption
from ossia.cli.output import Output
from ossia.errors import RequestError

EXAMPLES = (
    "ossia pull openai/gpt-oss-20b",
    "ossia pull openai/gpt-oss-120b --original",
)


def pull(
    repo_id: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Such as openai/gpt-oss-20b.")
    ],
    revision: RevisionOption = None,
    cache_dir: CacheOption = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="Access token of the hub. [default: HF_TOKEN, or that of `hf auth login`]"
        ),
    ] = None,
    original: Annotated[
        bool, typer.Option("--original", help="Fetch the files of the original layout.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only look for it among what was downloaded.")
    ] = False,
) -> None:
    """Download a checkpoint from the Hugging Face Hub.

    Goes on where an earlier try ended, checks every file's hash, and prints the folder.
    """
    from ossia.api.model_source import comes_with_ossia

    if comes_with_ossia(repo_id):
        told = "comes with Ossia and needs no download; use it as it is"
        raise RequestError(f"{repo_id} {told}, as in `ossia chat {repo_id}`", field="model")
    from ossia.checkpoint.download import pull

    output = Output()
    with output.progress() as progress:
        folder = pull(
            repo_id,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            files="original" if original else "hf",
            local_files_only=offline,
            progress=progress,
        )
    output.line(str(folder))
