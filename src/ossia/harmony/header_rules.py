"""HeaderRules: which messages an assistant may write in its turn, and how their headers read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from ossia.errors import RequestError
from ossia.harmony.contents import DeveloperContent, SystemContent
from ossia.harmony.layout import Piece
from ossia.harmony.messages import Channel, Message
from ossia.tokenizer import special

ToolChoice = Literal["auto", "none", "required"]
FINAL: Final = "final"
"""What the content of an answer goes by; that of a call goes by its recipient."""

_CALL_TYPES: Final[Sequence[Sequence[Piece]]] = (
    ("",),
    (" json",),
    (" code",),
    (" ", special.CONSTRAIN, "json"),
    ("", special.CONSTRAIN, "json"),
)
_FINAL_TYPES: Final[Sequence[Sequence[Piece]]] = (("",), (" ", special.CONSTRAIN, "json"))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderRules:
    """What may come in a turn.

    Args:
        functions: Recipients that are called on the commentary channel, such as `functions.f`.
        builtin_tools: Recipients that are called on the analysis channel too, such as
            `browser.search`.
        tool_choice: "auto" leaves it to the model; "none" allows no call; "required" allows no
            answer, so that the turn can only end in a call; else the one recipient that may be
            called, and must be.
        reasoning: Whether it may think on the analysis channel.
        final_only: Only the answer may come.

    Raises:
        RequestError: a tool must be called that is not on offer, or must and must not be called.
    """

    functions: tuple[str, ...] = ()
    builtin_tools: tuple[str, ...] = ()
    tool_choice: ToolChoice | str = "auto"
    reasoning: bool = True
    final_only: bool = False

    def __post_init__(self) -> None:
        offered = {*self.functions, *self.builtin_tools}
        if self.tool_choice in ("auto", "none"):
            return
        if self.final_only:
            raise RequestError(
                "a call is required although only an answer may come", field="tool_choice"
            )
        if self.tool_choice == "required":
            if not offered:
                raise RequestError(
                    "a call is required, but no tool is on offer", field="tool_choice"
                )
        elif self.tool_choice not in offered:
            raise RequestError(
                f"no tool named {self.tool_choice!r} is on offer", field="tool_choice"
            )

    @property
    def must_call(self) -> bool:
        """Whether the turn has to end in a call."""
        return self.tool_choice not in ("auto", "none")


@dataclass(frozen=True, slots=True)
class HeaderForm:
    """One way to write a header, from behind `<|start|>assistant` up to `<|message|>`.

    Args:
        pieces: Special tokens, and the texts between them.
        ends: The tokens that may end the message.
        subject: What the content goes by: `FINAL`, or a call's recipient; None for other words.
    """

    pieces: tuple[Piece, ...]
    ends: tuple[int, ...]
    subject: str | None = None


def offered_tools(messages: Iterable[Message]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The recipients that a conversation offers: functions, and built-in tools.

    What a system message offers is built in; what a developer message offers is not.
    """
    functions: dict[str, None] = {}
    builtin: dict[str, None] = {}
    for message in messages:
        for content in message.content:
            if not isinstance(content, SystemContent | DeveloperContent):
                continue
            is_builtin = isinstance(content, SystemContent)
            for name, group in (content.tools or {}).items():
                recipients = [f"{group.name}.{tool.name}" for tool in group.tools]
                if is_builtin and not group.tools:
                    recipients = [name]  # a tool without functions, as python is
                (builtin if is_builtin else functions).update(dict.fromkeys(recipients))
    return tuple(functions), tuple(builtin)


def header_forms(rules: HeaderRules) -> Iterator[HeaderForm]:
    """All headers that the rules allow."""
    if not rules.must_call:
        for kind in _FINAL_TYPES:
            yield _form(Channel.FINAL, None, kind, (special.RETURN,))
    if rules.final_only:
        return
    if rules.reasoning:
        yield _form(Channel.ANALYSIS, None, ("",), (special.END,))
    recipients = _callable(rules)
    # Words to the user before a call; without a tool there is no call for them to precede.
    if recipients and not rules.must_call:
        yield _form(Channel.COMMENTARY, None, ("",), (special.END,))
    for recipient, channel in recipients:
        for kind in _CALL_TYPES:
            yield _form(channel, recipient, kind, (special.CALL,))
            yield _form(channel, recipient, kind, (special.CALL,), recipient_first=True)


def governable(rules: HeaderRules) -> frozenset[str]:
    """What the contents go by that may be written: `FINAL`, and recipients."""
    return frozenset(form.subject for form in header_forms(rules) if form.subject is not None)


def _callable(rules: HeaderRules) -> list[tuple[str, Channel]]:
    """The recipients that may be called, each with a channel for the call."""
    if rules.tool_choice == "none":
        return []
    on = [(name, Channel.COMMENTARY) for name in (*rules.functions, *rules.builtin_tools)]
    on += [(name, Channel.ANALYSIS) for name in rules.builtin_tools]
    if rules.tool_choice in ("auto", "required"):
        return on
    return [(name, channel) for name, channel in on if name == rules.tool_choice]


def _form(
    channel: Channel,
    recipient: str | None,
    kind: Sequence[Piece],
    ends: tuple[int, ...],
    *,
    recipient_first: bool = False,
) -> HeaderForm:
    """A header; text that nothing parts is one piece, since it is encoded as one."""
    address = f" to={recipient}" if recipient is not None else ""
    before, behind = (address, "") if recipient_first else ("", address)
    first, *rest = kind
    pieces = [before, special.CHANNEL, f"{channel.value}{behind}{first}", *rest, special.MESSAGE]
    subject = FINAL if channel is Channel.FINAL else recipient
    return HeaderForm(tuple(piece for piece in pieces if piece != ""), ends, subject)
