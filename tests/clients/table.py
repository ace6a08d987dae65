"""The table of clients: who they are, what was exercised, and how it went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_TEMPLATE = Path(__file__).parent / "page.md"
_PLACE = "<!-- table -->"


@dataclass
class Row:
    """One client.

    Args:
        client: Its name.
        versions: Of its packages.
        passed: What was exercised and went well, as `api/what`.
        failed: What did not.
    """

    client: str
    versions: str
    passed: list[str] = field(default_factory=list[str])
    failed: list[str] = field(default_factory=list[str])

    @property
    def exercised(self) -> str:
        """All of it, the API named once for each."""
        apis: dict[str, list[str]] = {}
        for name in sorted(self.passed + self.failed):
            api, _, what = name.partition("/")
            apis.setdefault(api, []).append(what)
        return "; ".join(f"{api}: {', '.join(whats)}" for api, whats in apis.items())

    @property
    def result(self) -> str:
        """In a few words."""
        count = len(self.passed) + len(self.failed)
        if not self.failed:
            return f"all {count}"
        return f"{len(self.passed)} of {count}; not {', '.join(sorted(self.failed))}"


def rows_of(outcomes: Iterable[tuple[str, str, str, bool]]) -> list[Row]:
    """Rows for (client, versions, what, whether it went well), in the order of clients' names."""
    rows: dict[str, Row] = {}
    for client, versions, what, went_well in outcomes:
        row = rows.setdefault(client, Row(client, versions))
        (row.passed if went_well else row.failed).append(what)
    return sorted(rows.values(), key=lambda row: row.client.lstrip("@"))


def as_text(rows: Iterable[Row]) -> str:
    """Lines for a terminal."""
    return "".join(f"{row.client:24}{row.versions}\n    {row.result}\n" for row in rows)


def as_markdown(rows: Iterable[Row]) -> str:
    """A table for a page."""
    lines = ["| client | version | exercised | passed |", "|---|---|---|---|"]
    lines += [
        f"| {row.client} | {row.versions} | {row.exercised} | {row.result} |" for row in rows
    ]
    return "\n".join(lines)


def write_page(path: Path, rows: Iterable[Row]) -> None:
    """The page with the table in it."""
    template = _TEMPLATE.read_text(encoding="utf-8")
    assert _PLACE in template
    path.write_text(template.replace(_PLACE, as_markdown(rows)), encoding="utf-8")
