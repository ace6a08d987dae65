"""OpenCalls: the tool calls of a chat that still wait for their results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ossia.server.api_error import ApiError
from ossia.server.word import check_word

_MOST_NAMED: Final = 10  # ids in a refusal; clients choose how many there are
_LONGEST_ID: Final = 100


class OpenCalls:
    """Which results may come, and whether all have come.

    Calls without an id, and results without one, are paired in the order in which they come; some
    local clients have no ids. The hosted API wants results right behind the calls. Here a user may
    speak in between, but the model may not go on before it has been answered.
    """

    def __init__(self) -> None:
        self._waiting: list[str | None] = []
        self._path = ""  # of the calls that wait

    def add(self, ids: Sequence[str | None], path: str) -> None:
        """The model has made calls.

        Args:
            ids: One for each.
            path: Where they stand in the request.

        Raises:
            ApiError: earlier ones wait still, or two have the same id.
        """
        self.check()
        for position, call_id in enumerate(ids):
            if call_id is not None and call_id in ids[:position]:
                where = f"{path}[{position}].id"
                raise ApiError(
                    f"Invalid value for '{where}': an earlier call has the id "
                    f"{call_id[:_LONGEST_ID]!r}, too.",
                    param=where,
                )
        self._waiting, self._path = list(ids), path

    def answer(self, call_id: str | None, name: str | None, path: str) -> None:
        """A result has come.

        Args:
            call_id: Of its call.
            name: Of the tool; says enough where no call is known.
            path: Of the message.

        Raises:
            ApiError: no call waits for it, and its name is none.
        """
        if call_id in self._waiting:
            self._waiting.remove(call_id)
        elif call_id is None and self._waiting:
            del self._waiting[0]
        elif name is None:
            where = f"{path}.tool_call_id"
            if call_id is None:
                raise ApiError(
                    f"Missing required parameter: '{where}'.",
                    param=where,
                    code="missing_required_parameter",
                )
            raise ApiError(
                f"Invalid value for '{where}': no earlier message has a tool call with the id "
                f"{call_id[:_LONGEST_ID]!r} that waits for a result.",
                param=where,
            )
        else:
            check_word(name, f"{path}.name")

    def check(self) -> None:
        """See that nothing waits.

        Raises:
            ApiError: a call has no result.
        """
        if not self._waiting:
            return
        ids = [(call_id or "none")[:_LONGEST_ID] for call_id in self._waiting[:_MOST_NAMED]]
        raise ApiError(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to "
            "each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(ids)}",
            param=self._path,
        )
