"""Renderer: conversations to token ids, without the reasoning that the format leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ossia.harmony.contents import DeveloperContent
from ossia.harmony.differences import NONE, Difference
from ossia.harmony.layout import Piece, RenderOptions, message_pieces
from ossia.harmony.messages import Channel, Conversation, Message, Role
from ossia.tokenizer import special

_FUNCTIONS: Final = "functions"


class TextEncoder(Protocol):
    """What the renderer needs of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; special tokens written in it stay text."""
        ...


@dataclass(frozen=True, slots=True)
class RenderConversationConfig:
    """How a conversation is rendered.

    Args:
        auto_drop_analysis: Leave out the reasoning of turns that reached their final message.
    """

    auto_drop_analysis: bool = True


_DEFAULT: Final = RenderConversationConfig()


class Renderer:
    """Renders messages and conversations.

    Args:
        tokenizer: Encodes the plain texts.
        as_library: Differences that are switched back to the `openai_harmony` package's way.
    """

    def __init__(self, tokenizer: TextEncoder, *, as_library: frozenset[Difference] = NONE) -> None:
        self._tokenizer = tokenizer
        self._as_library = as_library

    def render(self, message: Message, render_options: RenderOptions | None = None) -> list[int]:
        """Ids of one message, from `<|start|>` to its end token.

        Raises:
            HarmonyError: the message cannot be written in the format.
        """
        options = render_options or RenderOptions()
        return self._encode(message_pieces(message, options, self._as_library))

    def render_conversation(
        self, conversation: Conversation, config: RenderConversationConfig | None = None
    ) -> list[int]:
        """Ids of all messages that are to be kept.

        Raises:
            HarmonyError: a message cannot be written in the format.
        """
        return self._encode(conversation_pieces(conversation.messages, config, self._as_library))

    def render_conversation_for_completion(
        self,
        conversation: Conversation,
        next_turn_role: Role = Role.ASSISTANT,
        config: RenderConversationConfig | None = None,
    ) -> list[int]:
        """The same, followed by the start of the message that the model is to write.

        Raises:
            HarmonyError: a message cannot be written in the format.
        """
        pieces = completion_pieces(conversation.messages, next_turn_role, config, self._as_library)
        return self._encode(pieces)

    def render_conversation_for_training(
        self, conversation: Conversation, config: RenderConversationConfig | None = None
    ) -> list[int]:
        """Ids to learn from: a closing final message ends in `<|return|>`.

        The reasoning of the turn that this message closes is kept.

        Raises:
            HarmonyError: a message cannot be written in the format.
        """
        return self._encode(training_pieces(conversation.messages, config, self._as_library))

    def _encode(self, pieces: Iterable[Piece]) -> list[int]:
        ids: list[int] = []
        for piece in pieces:
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids += self._tokenizer.encode(piece)
        return ids


def conversation_pieces(
    messages: Sequence[Message],
    config: RenderConversationConfig | None = None,
    as_library: frozenset[Difference] = NONE,
) -> Iterator[Piece]:
    """The pieces of the messages that are to be kept."""
    return _kept_pieces(messages, messages, config or _DEFAULT, as_library)


def completion_pieces(
    messages: Sequence[Message],
    next_role: Role = Role.ASSISTANT,
    config: RenderConversationConfig | None = None,
    as_library: frozenset[Difference] = NONE,
) -> Iterator[Piece]:
    """The same, followed by the start of the next message."""
    yield from conversation_pieces(messages, config, as_library)
    yield special.START
    yield next_role.value


def training_pieces(
    messages: Sequence[Message],
    config: RenderConversationConfig | None = None,
    as_library: frozenset[Difference] = NONE,
) -> Iterator[Piece]:
    """The pieces to learn from; see `Renderer.render_conversation_for_training`."""
    closed = bool(messages) and _is_final(messages[-1])
    keeps_last_turn = Difference.OLD_REASONING not in as_library
    finished = messages[:-1] if closed and keeps_last_turn else messages
    pieces = list(_kept_pieces(messages, finished, config or _DEFAULT, as_library))
    if closed:
        pieces[-1] = special.RETURN
    return iter(pieces)


def _kept_pieces(
    messages: Sequence[Message],
    finished: Sequence[Message],
    config: RenderConversationConfig,
    as_library: frozenset[Difference],
) -> Iterator[Piece]:
    """The pieces of `messages`; reasoning goes as far as `finished` calls for."""
    options = RenderOptions(any(map(_offers_functions, messages)))
    end = 0
    if config.auto_drop_analysis:
        end = _end_of_old_reasoning(finished, as_library)
    for position, message in enumerate(messages):
        if position >= end or not _is_reasoning(message, as_library):
            yield from message_pieces(message, options, as_library)


def _end_of_old_reasoning(messages: Sequence[Message], as_library: frozenset[Difference]) -> int:
    """Reasoning before this position belongs to turns that are over."""
    finals = [position for position, message in enumerate(messages) if _is_final(message)]
    if Difference.OLD_REASONING not in as_library:
        return finals[-1] if finals else 0
    spoken = [message for message in messages if message.author.role is Role.ASSISTANT]
    if not spoken or spoken[-1].channel != Channel.FINAL:
        return 0
    return next(i for i, message in enumerate(messages) if message.channel == Channel.FINAL)


def _is_final(message: Message) -> bool:
    return message.author.role is Role.ASSISTANT and message.channel == Channel.FINAL


def _is_reasoning(message: Message, as_library: frozenset[Difference]) -> bool:
    """Whether a message goes with old reasoning: thoughts, and built-in tools used on the way.

    A function called on the analysis channel by mistake stays, since its result stays too.
    """
    if message.channel != Channel.ANALYSIS:
        return False
    if Difference.OLD_REASONING in as_library:
        return True
    parties = (message.recipient or "", message.author.name or "")
    return not any(party.startswith(f"{_FUNCTIONS}.") for party in parties)


def _offers_functions(message: Message) -> bool:
    return any(
        isinstance(content, DeveloperContent)
        and (group := (content.tools or {}).get(_FUNCTIONS)) is not None
        and bool(group.tools)
        for content in message.content
    )
