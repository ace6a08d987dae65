"""OpenCalls: the tool calls of a chat that still wait for their results."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Final

from ossia.server.api_error import ApiError
from ossia.server.word import check_word

_MOST_NAMED: Final = 10  # ids in a refusal; clients choose how many there are
_LONGEST_ID: Final = 100
_OF_NO_CALL: Final = "none"


class OpenCalls:
    """Which results belong to which calls, and whether all have come.

    Ids pair them. Local clients have none, or the function's name in their place, and what stands
    between rewrites them: then names pair them, else the order. The hosted API wants results right
    behind the calls; here they may come any time later.
    """

    def __init__(self) -> None:
        self._by_id: defaultdict[str, deque[_Call]] = defaultdict(deque)
        self._by_name: defaultdict[str, deque[_Call]] = defaultdict(deque)
        self._needed: deque[_Call] = deque()
        self._optional: deque[_Call] = deque()
        self._made = self._waiting = 0
        self._strays = 0  # results of calls that wait, but nothing says of which

    def add(self, call_id: str | None, name: str, path: str) -> str:
        """The model has made a call.

        Args:
            call_id: As the client has it; others may have the same.
            name: Of the function.
            path: Where the message's calls stand in the request; empty if this one needs no result.

        Returns:
            An id that no other call has.
        """
        call = _Call(str(self._made), call_id, name, path)
        self._made += 1
        self._waiting += 1
        self._by_name[name].append(call)
        if call_id is not None:
            self._by_id[call_id].append(call)
        (self._needed if path else self._optional).append(call)
        return call.key

    def answer(self, call_id: str | None, name: str | None, path: str) -> str:
        """A result has come.

        Args:
            call_id: Of its call.
            name: Of the tool; says enough where no call is known.
            path: Of the message.

        Returns:
            What `add` has given for its call; if that is not known, an id that no call has.

        Raises:
            ApiError: no call waits for it, and its name is none.
        """
        call = self._find(call_id, name)
        if call is not None:
            call.answered = True
            self._waiting -= 1
            self._strays = min(self._strays, self._waiting)
            return call.key
        if name is None:
            raise _unasked(call_id, f"{path}.tool_call_id")
        check_word(name, f"{path}.name")
        self._strays = min(self._strays + 1, self._waiting)
        return _OF_NO_CALL

    def check(self) -> None:
        """See that nothing waits.

        Raises:
            ApiError: a call has no result.
        """
        waiting = [call for call in self._needed if not call.answered][self._strays :]
        if not waiting:
            return
        ids = [(call.call_id or "none")[:_LONGEST_ID] for call in waiting[:_MOST_NAMED]]
        raise ApiError(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to "
            "each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(ids)}",
            param=waiting[0].path,
        )

    def _find(self, call_id: str | None, name: str | None) -> _Call | None:
        if call_id is not None and (call := _oldest(self._by_id.get(call_id))):
            return call
        if name is not None and (call := _oldest(self._by_name.get(name))):
            return call
        if call_id is not None:
            return None
        return _oldest(self._needed) or _oldest(self._optional)


@dataclass(slots=True)
class _Call:
    key: str
    call_id: str | None
    name: str
    path: str
    answered: bool = False


def _oldest(calls: deque[_Call] | None) -> _Call | None:
    """The first that waits; what has been answered before it is dropped."""
    while calls and calls[0].answered:
        calls.popleft()
    return calls[0] if calls else None


def _unasked(call_id: str | None, where: str) -> ApiError:
    if call_id is None:
        return ApiError(
            f"Missing required parameter: '{where}'.",
            param=where,
            code="missing_required_parameter",
        )
    return ApiError(
        f"Invalid value for '{where}': no earlier message has a tool call with the id "
        f"{call_id[:_LONGEST_ID]!r} that waits for a result.",
        param=where,
    )
