"""ReasoningMemory: the reasoning before tool calls, for clients that do not send it back."""

from __future__ import annotations

from collections import OrderedDict


class ReasoningMemory:
    """Keeps texts by the id of the call that they led to; the longest unused go first.

    gpt-oss was trained to see its reasoning again until a turn's last call is answered, but most
    chat clients drop what they have no field for.

    Args:
        max_bytes: Of all texts and ids together.
    """

    def __init__(self, max_bytes: int = 32 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._texts: OrderedDict[str, str] = OrderedDict()

    def put(self, call_id: str, text: str) -> None:
        """Keep a text; one that alone is too large is not kept."""
        self._drop(call_id)
        size = _size(call_id, text)
        if not text or size > self._max_bytes:
            return
        self._texts[call_id] = text
        self._num_bytes += size
        while self._num_bytes > self._max_bytes:
            self._drop(next(iter(self._texts)))

    def get(self, call_id: str) -> str | None:
        """The text, if it is still there."""
        text = self._texts.get(call_id)
        if text is not None:
            self._texts.move_to_end(call_id)
        return text

    def _drop(self, call_id: str) -> None:
        text = self._texts.pop(call_id, None)
        if text is not None:
            self._num_bytes -= _size(call_id, text)


def _size(call_id: str, text: str) -> int:
    # A Python string takes up to four bytes a character.
    return 4 * (len(call_id) + len(text))
