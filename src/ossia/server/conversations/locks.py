"""ConversationLocks: one response at a time for a conversation."""

from __future__ import annotations

from collections.abc import Callable

from ossia.server.api_error import ApiError


class ConversationLocks:
    """Knows which conversations a response is being made for. Of one server, for its event loop.

    A second response would answer a history without the first's answer in it, so it is refused, as
    the hosted API does; items and metadata may be changed meanwhile.
    """

    def __init__(self) -> None:
        self._held: set[str] = set()

    def __len__(self) -> int:
        """How many are held."""
        return len(self._held)

    def hold(self, conversation_id: str) -> Callable[[], None]:
        """Begin with a response; what is returned ends it, and may be called more than once.

        Raises:
            ApiError: another response has begun and not ended.
        """
        if conversation_id in self._held:
            raise ApiError(
                "Another response is being made in this conversation; ask again when it has ended.",
                param="conversation",
                code="conversation_locked",
                retry_after=1.0,
            )
        self._held.add(conversation_id)
        is_held = True

        def release() -> None:
            nonlocal is_held
            if is_held:
                is_held = False
                self._held.discard(conversation_id)

        return release
