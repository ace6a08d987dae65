"""GrammarMask: follows one text, and says what may come next in it."""

from __future__ import annotations

from typing import Final

from ossia.errors import GrammarCostError
from ossia.structured.compiling import CompiledGrammar
from ossia.structured.limits import MASK_CREDIT_SECONDS, MASK_SECONDS_A_TOKEN
from ossia.structured.lookahead import Lookahead, PendingTokens

_LOOKAHEAD: Final = Lookahead()
_TOO_COMPLEX: Final = (
    "the grammar has become too complex on the way; make it smaller, or its repeats shorter"
)
_NO_FIT: Final = "doesn't satisfy the grammar"  # the library's words for a token that may not come


class GrammarMask:
    """For one text of ordinary tokens.

    Args:
        grammar: What the text must look like.
    """

    def __init__(self, grammar: CompiledGrammar) -> None:
        self._matcher = grammar.matcher.deep_copy()
        self._next = grammar.first
        self._pending: PendingTokens | None = None
        self._credit = MASK_CREDIT_SECONDS

    def allowed(self) -> bytes:
        """The ordinary tokens that may come next: bit i % 8 of byte i // 8 stands for id i.

        Raises:
            GrammarCostError: the grammar has become too complex, or takes too long.
        """
        self._settle()
        return self._next.bits

    @property
    def may_end(self) -> bool:
        """Whether the text is complete; errors as above."""
        self._settle()
        return self._next.may_end

    def accept(self, token_id: int) -> None:
        """Move on behind a token, and begin to work out what may follow it.

        Raises:
            GrammarCostError: as above.
            ValueError: it was not allowed.
        """
        self._settle()
        if not self._matcher.consume_token(token_id):
            complaint = self._matcher.get_error()
            if complaint and _NO_FIT not in complaint:
                raise GrammarCostError(_TOO_COMPLEX)
            raise ValueError(f"token {token_id} does not fit the grammar")
        self._pending = _LOOKAHEAD.start(self._matcher)

    def _settle(self) -> None:
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        try:
            self._next = pending.result()
        except ValueError as error:
            raise GrammarCostError(_TOO_COMPLEX) from error
        self._credit += MASK_SECONDS_A_TOKEN - pending.seconds
        if self._credit < 0:
            raise GrammarCostError("the grammar takes too long for each token; make it smaller")
