"""OpenMessage: a chat whose last message is not finished, so that the model goes on with it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, cast

from ossia.errors import RequestError

_FIELD: Final = "continue_final_message"
_MARK: Final = "<the message is open here> "  # its space shows whether the template strips text


class OpenMessage:
    """Marks the end of the last message's text, and cuts what was rendered at the mark.

    Args:
        chat: The messages; the last one is changed.
        field: The field to continue.
        source: The template, which must know the field.
        aliases: Names under which reasoning stands, of which a template reads one or another.

    Raises:
        RequestError: there is no such text, or the template does not know the field.
    """

    def __init__(
        self, chat: list[dict[str, Any]], field: str, source: str, aliases: Collection[str]
    ) -> None:
        value = chat[-1].get(field) if chat else None
        if value is None:
            raise RequestError(f"the final message has no {field!r} to continue", field=_FIELD)
        fields = [field]
        if field in aliases:
            fields = [name for name in aliases if chat[-1].get(name) == value]
        if not any(name in source for name in fields):
            raise RequestError(f"the chat template does not read {field!r}", field=_FIELD)
        if isinstance(value, list | tuple):
            self._text = _mark_last_text(cast("list[Any]", value))
            return
        self._text = str(value)
        for name in fields:
            chat[-1][name] = self._text + _MARK

    def cut(self, rendered: str) -> str:
        """What was rendered, up to the end of the open message's text.

        Raises:
            RequestError: the template has left out the text.
        """
        place = rendered.rfind(_MARK.strip())
        if place < 0 or self._text.strip() not in rendered:
            raise RequestError("the chat template leaves out the final message", field=_FIELD)
        before = rendered[:place]
        # A template that strips text has stripped the mark's space, and would have the text's own.
        return before if rendered.startswith(_MARK, place) else before.rstrip()


def _mark_last_text(parts: list[Any]) -> str:
    for part in reversed(parts):
        if isinstance(part, dict) and "text" in part:
            text = str(cast("dict[str, Any]", part)["text"])
            part["text"] = text + _MARK
            return text
    raise RequestError("the final message has no text to continue", field=_FIELD)
