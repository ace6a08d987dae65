"""TokenCache: the ids of messages that were rendered before."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from threading import Lock

from ossia.harmony.contents import SystemContent, TextContent
from ossia.harmony.layout import RenderOptions
from ossia.harmony.messages import Message


class TokenCache:
    """Remembers ids by what a message says, not by which object says it: messages can change.

    Safe to share between threads.

    Args:
        max_ids: How many ids to keep in all, of 4 bytes each; what was used longest ago goes first.
    """

    def __init__(self, max_ids: int = 1 << 21) -> None:
        self._max_ids = max_ids
        self._num_ids = 0
        self._entries: OrderedDict[Hashable, array[int]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> Sequence[int] | None:
        """The ids kept under this key."""
        with self._lock:
            ids = self._entries.get(key)
            if ids is not None:
                self._entries.move_to_end(key)
            return ids

    def put(self, key: Hashable, ids: Sequence[int]) -> None:
        """Keep these ids."""
        if len(ids) > self._max_ids:
            return
        with self._lock:
            self._num_ids += len(ids) - len(self._entries.pop(key, ()))
            self._entries[key] = array("I", ids)
            while self._num_ids > self._max_ids:
                _, oldest = self._entries.popitem(last=False)
                self._num_ids -= len(oldest)

    def __len__(self) -> int:
        return self._num_ids


def message_key(message: Message, options: RenderOptions) -> Hashable | None:
    """All that a message's rendering depends on; None if that is too deep to be told."""
    author = message.author
    header = (author.role.value, author.name, message.channel, message.recipient)
    parts: list[Hashable] = []
    for content in message.content:
        if isinstance(content, TextContent):
            parts.append(content.text)
            continue
        try:
            parts.append((repr(content),))  # in a tuple, which no text equals
        except RecursionError:
            return None
        if isinstance(content, SystemContent):
            parts.append((options.conversation_has_function_tools,))
    return (header, message.content_type, *parts)
