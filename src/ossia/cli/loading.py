"""Loading a model for a command: with progress, and threads that suit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ossia.cli.output import Output
from ossia.env import threads_chosen
from ossia.garbage import collector_paused

if TYPE_CHECKING:
    from ossia.api.runtime import Runtime


def load_runtime(
    output: Output, model: str, *, dtype: str, device: str, revision: str | None
) -> Runtime:
    """What `Runtime.load` gives, with bars while it takes long."""
    # Call it before anything else that brings torch in.
    with collector_paused():
        from ossia.api.runtime import Runtime
        from ossia.api.threads import use_fitting_threads

    with output.progress() as progress:
        runtime = Runtime.load(
            model, dtype=dtype, device=device, revision=revision, progress=progress
        )
    if not threads_chosen():
        use_fitting_threads(runtime.network)
    return runtime
