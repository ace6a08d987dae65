"""The table of clients: who they are, what was exercised, and how it went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_TEMPLATE = Path(__file__).parent / "page.md"
_CONFIGS = Path(__file__).parent / "configs"
_TABLE = "<!-- table -->"


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
    """Rows in the order of clients' names.

    Args:
        outcomes: (client, versions, what was exercised, whether it passed).
    """
    rows: dict[str, Row] = {}
    for client, versions, what, passed in outcomes:
        row = rows.setdefault(client, Row(client, versions))
        (row.passed if passed else row.failed).append(what)
    return sorted(rows.values(), key=lambda row: row.client.lstrip("@"))


def as_text(rows: Iterable[Row]) -> str:
    """Lines for a terminal."""
    return "".join(f"{row.client:24}{row.versions}\n    {row.result}\n" for row in rows)


def as_markdown(rows: Iterable[Row]) -> str:
    """A table for a page."""
    lines = ["| client | version | exercised | passed |", "|---|---|---|---|"]
    lines += [f"| {row.client} | {row.versions} | {row.exercised} | {row.result} |" for row in rows]
    return "\n".join(lines)


def write_page(path: Path, rows: Iterable[Row]) -> None:
    """The page with the table and the configurations in it."""
    page = _TEMPLATE.read_text(encoding="utf-8")
    places = {_TABLE: as_markdown(rows)}
    for config in _CONFIGS.iterdir():
        text = config.read_text(encoding="utf-8")
        places[f"<!-- {config.name} -->"] = f"```{config.suffix[1:]}\n{text}```"
    for place, text in places.items():
        assert place in page, place
        page = page.replace(place, text)
    path.write_text(page, encoding="utf-8")
