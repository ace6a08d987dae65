"""Masks: what may come next in continuations, asked before a token is drawn, or of one that was drawn without asking."""

from __future__ import annotations

from ossia.engine.sequence import Sequence

AllowedSet = bytes | bytearray | memoryview
_WARY_TOKENS = 8  # that are drawn by asking first, behind one that was refused


class Masks:
    """Asks each continuation's mask once before each token, and tells it what has come."""

    def __init__(self) -> None:
        # Of the next token, where it was asked.
        self._said: dict[Sequence, AllowedSet | Exception | None] = {}
        self._wary: dict[Sequence, int] = {}

    def allowed(self, sequence: Sequence) -> AllowedSet | None:
        """The set of ids that may come next; None allows all.

        Raises:
            Exception: whatever the caller's mask raises.
        """
        said = self._said.pop(sequence) if sequence in self._said else _ask(sequence)
        if isinstance(said, Exception):
            raise said
        return said

    def trusts(self, sequence: Sequence) -> bool:
        """Whether a token may be drawn before its mask is asked: not soon after one that was refused."""
        return sequence not in self._wary

    def refuses(self, sequence: Sequence, token_id: int) -> bool:
        """Whether a token that was drawn without asking may not come; what the mask said is kept for `allowed` then."""
        if sequence.request.make_mask is None:
            return False
        said = _ask(sequence)
        if _holds(said, token_id):
            return False
        self._said[sequence], self._wary[sequence] = said, _WARY_TOKENS
        return True

    def accept(self, sequence: Sequence, token_id: int) -> str | None:
        """Tell the mask what has come; why it failed, if it did."""
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
