"""`ossia bench load`: from the start of a process to its first token."""

from __future__ import annotations

from typing import Annotated

import typer

from ossia.cli.bench_options import ModelOption, ThreadsOption, settings_of
from ossia.cli.options import DeviceOption, DtypeOption, JsonOption, RevisionOption
from ossia.cli.output import Output

EXAMPLES = (
    "ossia bench load",
    "ossia bench load --model ./checkpoint --device cpu",
    "ossia bench load --model ./checkpoint --serving",
)


def load(
    model: ModelOption = "demo",
    prompt: Annotated[int, typer.Option("--prompt", help="Tokens of the prompt.")] = 8,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Starts.")] = 3,
    serving: Annotated[
        bool, typer.Option("--serving", help="As ossia serve starts: ready when all is compiled.")
    ] = False,
    threads: ThreadsOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    revision: RevisionOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time a start, up to the first token.

    Each is a process of its own. The first start may read files from disk that later ones find in memory. The peak is of the
    memory that the weights are in; on the CPU it holds Python, torch and the mapped files' pages.
    """
    settings = settings_of(locals())
    output = Output()
    from ossia.api.model_source import find_model
    from ossia.bench.environment import hardware, software
    from ossia.bench.load import measure_load
    from ossia.bench.report import Report
    from ossia.bench.subject import measured_device
    from ossia.cli.bench_view import show_heading, show_load

    place = measured_device(device)
    with output.progress() as progress:
        find_model(model, revision=revision, progress=progress)  # unpacks the demo, once
    results = []
    for number in range(repeats):
        output.status(f"start {number + 1} of {repeats}")
        results.append(
            measure_load(
                model,
                dtype=dtype,
                device=str(place),
                revision=revision,
                prompt=prompt,
                threads=threads,
                serving=serving,
            )
        )
    report = Report(
        command="ossia bench load",
        settings=settings,
        software=software(),
        device=hardware(str(place)),
        model={"name": model, "dtype": dtype, "weight_bytes": results[0].weight_bytes},
    )
    if as_json:
        output.json(report.to_dict(results))
    else:
        show_heading(output, report)
        show_load(output, results, serving=serving)
