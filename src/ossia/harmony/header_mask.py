"""HeaderGrammar and HeaderMask: headers that cannot go wrong, as masks over the next token.

The headers that a turn allows are few, so they are a tree of token ids: in a header, what may come
next are the branches of where one is. In a message's content anything may come but the special
tokens that do not end it, or what a mask of the content's own allows; behind its end comes
`<|start|>assistant` and the next header.

A content is governed by whom it is for, however its header is written: no order of its parts and no
content type leads past the mask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol

from ossia.harmony.header_rules import HeaderForm, HeaderRules, header_forms
from ossia.harmony.messages import Role
from ossia.harmony.render import TextEncoder
from ossia.tokenizer import special

_MOST_SETS: Final = 512  # of 25,000 bytes that are kept at most


class ContentMask(Protocol):
    """Says which ordinary tokens may come next in one content."""

    @property
    def may_end(self) -> bool:
        """Whether the content is complete."""
        ...

    def allowed(self) -> bytes:
        """The set of ordinary tokens, as `TokenMask` has it: 25,000 bytes, and no other bits."""
        ...

    def accept(self, token_id: int) -> None:
        """Move on behind an ordinary token."""
        ...


@dataclass(slots=True)
class _Place:
    """A place in what may be written: in a header, or in the content of a message.

    In content `ends` is not empty, and every ordinary token leads back to the same place. `subject`
    is what the content goes by if a mask of its own governs it.
    """

    branches: dict[int, _Place] = field(default_factory=dict[int, "_Place"])
    ends: tuple[int, ...] = ()
    subject: str | None = None
    bits: bytes | None = None

    def allowed(self) -> bytes:
        """The tokens that may come next, made when first asked for."""
        if self.bits is None:
            self.bits = _place_bits((*self.branches, *self.ends), in_content=bool(self.ends))
        return self.bits


class HeaderGrammar:
    """What may be written in turns of one kind. Made once, and shared by any number of masks.

    Args:
        tokenizer: Encodes the texts of headers, as prompts are encoded.
        rules: Which messages may come.
        governed: Subjects whose contents have masks of their own: "final" for the answer,
            recipients for the arguments of calls.
    """

    def __init__(
        self, tokenizer: TextEncoder, rules: HeaderRules, governed: Collection[str] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self.header = _Place()
        self.next_message = _Place()
        self._add(
            self.next_message, [special.START, *tokenizer.encode(Role.ASSISTANT)], self.header
        )
        bodies: dict[tuple[tuple[int, ...], str | None], _Place] = {}
        for form in header_forms(rules):
            subject = form.subject if form.subject in governed else None
            body = bodies.setdefault((form.ends, subject), _Place(ends=form.ends, subject=subject))
            self._add(self.header, self._ids(form), body)
        for body in bodies.values():
            body.branches = dict.fromkeys(body.ends, self.next_message)

    def _ids(self, form: HeaderForm) -> list[int]:
        ids: list[int] = []
        for piece in form.pieces:
            ids += [piece] if isinstance(piece, int) else self._tokenizer.encode(piece)
        return ids

    @staticmethod
    def _add(place: _Place, ids: list[int], end: _Place) -> None:
        *path, last = ids
        for token in path:
            place = place.branches.setdefault(token, _Place())
        place.branches[last] = end


class HeaderMask:
    """Follows one continuation behind `<|start|>assistant`; a `TokenMask` for the engine.

    Should a token come that was not allowed (the engine was told not to stop yet, or another mask
    had its way), anything may come until the next stop token, where it finds its feet again.

    Args:
        grammar: What may be written.
        make_content: Called with the subject of each governed content when it begins.
    """

    def __init__(
        self, grammar: HeaderGrammar, make_content: Callable[[str], ContentMask] | None = None
    ) -> None:
        self._grammar = grammar
        self._make_content = make_content
        self._content: ContentMask | None = None
        self._place: _Place | None = grammar.header

    @property
    def in_content(self) -> bool:
        """Whether a message's content is being written."""
        return self._place is not None and bool(self._place.ends)

    def allowed(self) -> bytes | memoryview | None:
        """The set of tokens that may come next; None allows all.

        Raises:
            Exception: what a mask of a content raises.
        """
        if self._place is None:
            return None
        if self._content is None:
            return self._place.allowed()
        ordinary = self._content.allowed()
        if self._content.may_end:
            ordinary = with_tokens(ordinary, self._place.ends)
        return memoryview(ordinary)  # a view, since the set is not likely to come again

    def accept(self, token_id: int) -> None:
        """Move on behind the token that was drawn.

        Raises:
            Exception: what a mask of a content raises.
        """
        place = self._place
        if place is not None:
            if place.ends and 0 <= token_id < special.FIRST_SPECIAL:
                if self._content is not None:
                    self._content.accept(token_id)
                return
            self._place = place.branches.get(token_id)
        if self._place is None and token_id in special.STOP_TOKENS:
            self._place = self._grammar.next_message
        subject = None if self._place is None else self._place.subject
        if subject is None:
            self._content = None
        else:
            assert self._make_content is not None, "a subject is governed, but nobody governs"
            self._content = self._make_content(subject)


@lru_cache(maxsize=_MOST_SETS)
def _place_bits(token_ids: tuple[int, ...], *, in_content: bool) -> bytes:
    """The set of a place, which turns of most kinds have in common.

    Places refer to each other in circles, which are seldom collected: none may keep 25,000 bytes
    of its own.
    """
    return with_tokens(_ORDINARY if in_content else b"", token_ids)


def with_tokens(start: bytes, token_ids: Iterable[int]) -> bytes:
    """A set of ids, as `TokenMask` has it, and some more."""
    ids = list(token_ids)
    bits = bytearray(start.ljust(max(ids, default=0) // 8 + 1, b"\0"))
    for token in ids:
        bits[token // 8] |= 1 << token % 8
    return bytes(bits)


def _ordinary_bits() -> bytes:
    whole, rest = divmod(special.FIRST_SPECIAL, 8)
    return b"\xff" * whole + bytes([(1 << rest) - 1])


_ORDINARY: Final = _ordinary_bits()
