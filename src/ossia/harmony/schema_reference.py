"""References: finds what a JSON schema's `$ref` points to, without ever running in circles."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote

from ossia.harmony.json_value import Json

_MAX_OPENED: Final = 256


class References:
    """The `$ref`s of one document.

    Args:
        root: The document; only pointers into it (`#/...`, RFC 6901) are followed.
    """

    def __init__(self, root: Json) -> None:
        self._root = root
        self._opened: list[str] = []
        self._left = _MAX_OPENED

    @contextmanager
    def opened(self, schema: dict[str, Json]) -> Generator[dict[str, Json] | None]:
        """The schema with its `$ref` replaced by what it points to, for as long as it is in use.

        Gives None where there is nothing to write: the pointer leads nowhere or back into
        itself, or so many were followed that the text would grow without end.
        """
        pointer = schema.get("$ref")
        if not isinstance(pointer, str):
            yield schema
            return
        target = self._find(pointer)
        if pointer in self._opened or not self._left or not isinstance(target, dict):
            yield None
            return
        self._left -= 1
        self._opened.append(pointer)
        try:
            siblings = {key: value for key, value in schema.items() if key != "$ref"}
            with self.opened({**target, **siblings}) as resolved:
                yield resolved
        finally:
            self._opened.pop()

    def _find(self, pointer: str) -> Json:
        if pointer != "#" and not pointer.startswith("#/"):
            return None
        place = self._root
        for step in unquote(pointer).split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(place, dict):
                place = place.get(key)
            elif isinstance(place, list) and key.isdecimal() and int(key) < len(place):
                place = place[int(key)]
            else:
                return None
        return place
