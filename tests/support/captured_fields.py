"""Which fields the events of a captured stream hold, and in which order the events come.

`PYTHONPATH=tests python -m support.captured_fields NAME=FILE ...` reads streams of server-sent
events as the hosted API sent them, and prints what `tests/server/responses/captured_fields.json`
keeps of them: for each stream its events, those of one type in a row as one, each with the paths of
its fields. No value is kept but the types of things.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]


def events_of(text: str) -> list[JsonObject]:
    """The events of a stream of server-sent events."""
    lines = (line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: "))
    return [json.loads(line) for line in lines if line != "[DONE]"]


def shape_of(events: Sequence[JsonObject]) -> list[JsonObject]:
    """The events of a stream in order, runs of one type as one, with the paths of their fields."""
    shape: list[JsonObject] = []
    for event in events:
        paths = set(paths_of(event))
        if shape and shape[-1]["type"] == event["type"]:
            shape[-1]["fields"] = sorted({*shape[-1]["fields"], *paths})
        else:
            shape.append({"type": event["type"], "fields": sorted(paths)})
    return shape


def paths_of(value: object, path: str = "") -> Iterator[str]:
    """The paths of all fields, such as `response.output[message].content[output_text].text`.

    A member of a list goes by its `type`, if it has one.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            where = f"{path}.{name}" if path else name
            yield where
            yield from paths_of(inner, where)
    elif isinstance(value, list):
        for inner in value:
            kind = inner.get("type", "") if isinstance(inner, dict) else ""
            yield from paths_of(inner, f"{path}[{kind}]")


def main(arguments: Iterable[str]) -> None:
    streams = {}
    for argument in arguments:
        name, _, file = argument.partition("=")
        streams[name] = shape_of(events_of(Path(file).read_text(encoding="utf-8")))
    print(json.dumps(streams, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
