"""Masks: what may come next in continuations, asked before a token is drawn, or of one that was drawn without asking."""

from __future__ import annotations

from dataclasses import dataclass

from ossia.engine.sequence import Sequence

AllowedSet = bytes | bytearray | memoryview
_WARY_TOKENS = 8  # that are drawn by asking first, behind one that was refused


@dataclass(frozen=True, slots=True)
class Guess:
    """A token that a step has drawn, perhaps before its mask was asked.

    Args:
        token_id: The token.
        within: The ids that it was drawn from; None for all.
        exactly: Whether it would be another one had it been drawn from others, though it is among those, too.
    """

    token_id: int
    within: bytes | None
    exactly: bool


class Masks:
    """Asks each continuation's mask once before each token, and tells it what has come."""

    def __init__(self) -> None:
        # Of the next token, where it was asked and not yet told.
        self._said: dict[Sequence, AllowedSet | Exception | None] = {}
        self._wary: dict[Sequence, int] = {}
        # What was said last, and whether it was the same before.
        self._last: dict[Sequence, tuple[AllowedSet | Exception | None, bool]] = {}

    def allowed(self, sequence: Sequence) -> AllowedSet | None:
        """The set of ids that may come next; None allows all.

        Raises:
            Exception: whatever the caller's mask raises.
        """
        said = self._of_next(sequence)
        if isinstance(said, Exception):
            raise said
        return said

    def asked(self, sequence: Sequence) -> bytes | None:
        """The set that comes next, for a step to draw from; None for all ids, and where the mask fails."""
        if sequence.request.make_mask is None:
            return None
        said = self._of_next(sequence)
        if said is None or isinstance(said, Exception):
            return None
        if not isinstance(said, bytes):
            said = self._said[sequence] = bytes(said)
        return said

    def expected(self, sequence: Sequence) -> bytes | None:
        """The set that will probably come next, since it came twice; None if that is all ids, or none is known."""
        said, again = self._last.get(sequence, (None, True))
        return said if again and isinstance(said, bytes) else None

    def trusts(self, sequence: Sequence, *, exactly: bool) -> bool:
        """Whether a token may be drawn before its mask is asked: not soon after one that was refused.

        Args:
            sequence: The continuation.
            exactly: Whether it has to be drawn from the very set that the mask will name, as where the likely ones of a
                set alone may come: then one must be `expected`, or all ids.
        """
        if sequence.request.make_mask is None:
            return True
        if not exactly:
            return sequence not in self._wary
        said, again = self._last.get(sequence, (None, False))
        return again and (said is None or isinstance(said, bytes))

    def refuses(self, sequence: Sequence, drawn: Guess) -> bool:
        """Whether a token that a step has drawn may not come."""
        if sequence.request.make_mask is None:
            return False
        said = self._of_next(sequence)
        if drawn.exactly:
            holds = not isinstance(said, Exception) and said == drawn.within
        else:
            holds = _holds(said, drawn.token_id)
        if holds:
            return False
        if not drawn.exactly:
            self._wary[sequence] = _WARY_TOKENS
        return True

    def accept(self, sequence: Sequence, token_id: int) -> str | None:
        """Tell the mask what has come; why it failed, if it did."""
        self._said.pop(sequence, None)
        if sequence.mask is None:
            return None
        if (left := self._wary.pop(sequence, 0)) > 1:
            self._wary[sequence] = left - 1
        try:
            sequence.mask.accept(token_id)
        except Exception as error:  # whatever the caller's mask raises ends this one only
            return failure(error)
        return None

    def release(self, sequence: Sequence) -> None:
        """Forget a continuation that has ended."""
        self._said.pop(sequence, None)
        self._wary.pop(sequence, None)
        self._last.pop(sequence, None)

    def _of_next(self, sequence: Sequence) -> AllowedSet | Exception | None:
        """What the mask says of the next token; it is asked once."""
        if sequence not in self._said:
            self._said[sequence] = self._ask(sequence)
        return self._said[sequence]

    def _ask(self, sequence: Sequence) -> AllowedSet | Exception | None:
        said = _ask(sequence)
        before = self._last.get(sequence)
        again = before is not None and (
            said is before[0] or (isinstance(said, bytes) and said == before[0])
        )
        self._last[sequence] = said, again
        return said


def failure(error: Exception) -> str:
    """Why a continuation ends whose mask has raised something."""
    return f"the token mask failed: {error!r}"


def _ask(sequence: Sequence) -> AllowedSet | Exception | None:
    try:
        if sequence.num_outputs == 0 and sequence.request.make_mask is not None:
            sequence.mask = sequence.request.make_mask(sequence.index)
        said = None if sequence.mask is None else sequence.mask.allowed()
        if said is not None:
            memoryview(said)  # refuses what is not made of bytes
    except Exception as error:
        return error
    return said


def _holds(said: AllowedSet | Exception | None, token_id: int) -> bool:
    """Whether a set holds an id, as TokenMask has it."""
    if said is None:
        return True
    if isinstance(said, Exception):
        return False
    byte = token_id // 8
    return byte < len(said) and bool(said[byte] >> token_id % 8 & 1)
