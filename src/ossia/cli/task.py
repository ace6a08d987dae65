"""`ossia run --task`: a pipeline over the lines of a file or of standard input."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

from ossia.cli.output import Output
from ossia.env import threads_chosen
from ossia.errors import RequestError
from ossia.garbage import collector_paused

FORMATS = ("infer", "json", "csv", "pipe")


def run_task(
    output: Output,
    task: str,
    model: str,
    *,
    source: Path | None,
    target: Path | None,
    column: str | None,
    file_format: str,
    overwrite: bool,
    **options: Any,  # noqa: ANN401
) -> None:
    """Run a task's pipeline on each input; results are JSON, a line for each, or a file.

    Args:
        output: Where results go without a target.
        task: As `pipeline` takes it.
        model: The model.
        source: A file of inputs; None is standard input, a line each.
        target: A file to write.
        column: Of JSON objects and CSV rows, the member that is the input.
        file_format: "json" (a list), "csv", "pipe" (lines), or "infer": by the file's ending.
        overwrite: Whether the target may be replaced.
        options: Of `pipeline`.

    Raises:
        RequestError: no such task, no inputs, or files that are not as described.
    """
    if target is not None and target.exists() and not overwrite:
        raise RequestError(f"{target} is there; --overwrite replaces it", field="output")
    with collector_paused():
        from ossia.api.pipelines.factory import known_task, pipeline
        from ossia.api.threads import use_fitting_threads

    known_task(task)  # before anybody types a text for it
    inputs = _read(source, column, file_format)
    if not inputs:
        raise RequestError("there is no line of input", field="input")
    pipe = pipeline(task, model=model, **options)
    if not threads_chosen():
        use_fitting_threads(pipe.model)
    results = pipe(inputs)
    if target is not None:
        target.write_text(json.dumps(results, ensure_ascii=False, indent=2, default=_number) + "\n")
        return
    for result in results:
        output.json(json.loads(json.dumps(result, default=_number)))


def _read(source: Path | None, column: str | None, file_format: str) -> list[str]:
    if file_format not in FORMATS:
        raise RequestError(f"{file_format!r} is none of {', '.join(FORMATS)}", field="format")
    try:
        text = sys.stdin.read() if source is None else source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RequestError("is no UTF-8 text", field="input") from error
    if file_format == "infer":
        ending = "" if source is None else source.suffix.lstrip(".").lower()
        file_format = ending if ending in ("json", "csv") else "pipe"
    if file_format == "pipe":
        return [line for line in text.splitlines() if line.strip()]
    if file_format == "csv":
        rows: list[Any] = list(csv.DictReader(text.splitlines()))
    else:
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise RequestError(f"is no JSON: {error}", field="input") from error
    return [_input(row, column) for row in (rows if isinstance(rows, list) else [rows])]


def _input(row: Any, column: str | None) -> Any:  # noqa: ANN401
    if not isinstance(row, dict):
        return row
    if column is None:
        raise RequestError(f"say which of {', '.join(map(str, row))} is the input", field="column")
    if column not in row:
        raise RequestError(f"{column!r} is none of {', '.join(map(str, row))}", field="column")
    return row[column]


def _number(value: Any) -> float:  # noqa: ANN401
    """A number of numpy's as JSON's."""
    return float(value)
