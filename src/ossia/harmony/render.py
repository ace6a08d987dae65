"""Renderer: conversations to token ids, without the reasoning that the format leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ossia.harmony.contents import DeveloperContent
from ossia.harmony.differences import NONE, Difference
from ossia.harmony.layout import Piece, RenderOptions, message_pieces
from ossia.harmony.messages import Channel, Conversation, Message, Role
from ossia.harmony.token_cache import TokenCache, message_key
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
    """Renders messages and conversations; what was rendered before costs next to nothing.

    Safe to share between threads if the tokenizer is.

    Args:
        tokenizer: Encodes the plain texts.
        as_library: Differences that are switched back to the `openai_harmony` package's way.
    """

    def __init__(self, tokenizer: TextEncoder, *, as_library: frozenset[Difference] = NONE) -> None:
        self._tokenizer = tokenizer
        self._as_library = as_library
        self._cache = TokenCache()

    def render(self, message: Message, render_options: RenderOptions | None = None) -> list[int]:
        """Ids of one message, from `<|start|>` to its end token.

        Raises:
            HarmonyError: the message cannot be written in the format.
        """
        return list(self._message_ids(message, render_options or RenderOptions()))

    def render_conversation(
        self, conversation: Conversation, config: RenderConversationConfig | None = None
    ) -> list[int]:
        """Ids of all messages that are to be kept.

        Raises:
            HarmonyError: a message cannot be written in the format.
        """
        messages = conversation.messages
        return self._ids(messages, _kept(messages, messages, config, self._as_library))

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
        next_start = [special.START, *self._tokenizer.encode(next_turn_role.value)]
        return self.render_conversation(conversation, config) + next_start

    def render_conversation_for_training(
        self, conversation: Conversation, config: RenderConversationConfig | None = None
    ) -> list[int]:
        """Ids to learn from: a closing final message ends in `<|return|>`.

        The reasoning of the turn that this message closes is kept.

        Raises:
            HarmonyError: a message cannot be written in the format.
        """
        messages = conversation.messages
        finished = _finished_for_training(messages, self._as_library)
        ids = self._ids(messages, _kept(messages, finished, config, self._as_library))
        if _is_closed(messages):
            ids[-1] = special.RETURN
        return ids

    def _ids(self, messages: Sequence[Message], kept: Iterable[Message]) -> list[int]:
        options = _options(messages)
        ids: list[int] = []
        for message in kept:
            ids.extend(self._message_ids(message, options))
        return ids

    def _message_ids(self, message: Message, options: RenderOptions) -> Sequence[int]:
        key = message_key(message, options)
        known = None if key is None else self._cache.get(key)
        if known is not None:
            return known
        ids: list[int] = []
        for piece in message_pieces(message, options, self._as_library):
            ids += [piece] if isinstance(piece, int) else self._tokenizer.encode(piece)
        if key is not None:
            self._cache.put(key, ids)
        return ids


def conversation_pieces(
    messages: Sequence[Message],
    config: RenderConversationConfig | None = None,
    as_library: frozenset[Difference] = NONE,
) -> Iterator[Piece]:
    """The pieces of the messages that are to be kept."""
    return _pieces(messages, _kept(messages, messages, config, as_library), as_library)


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
    finished = _finished_for_training(messages, as_library)
    kept = _kept(messages, finished, config, as_library)
    pieces = list(_pieces(messages, kept, as_library))
    if _is_closed(messages):
        pieces[-1] = special.RETURN
    return iter(pieces)


def _pieces(
    messages: Sequence[Message], kept: Iterable[Message], as_library: frozenset[Difference]
) -> Iterator[Piece]:
    options = _options(messages)
    for message in kept:
        yield from message_pieces(message, options, as_library)


def _kept(
    messages: Sequence[Message],
    finished: Sequence[Message],
    config: RenderConversationConfig | None,
    as_library: frozenset[Difference],
) -> list[Message]:
    """The messages that are written; reasoning goes as far as `finished` calls for."""
    end = 0
    if (config or _DEFAULT).auto_drop_analysis:
        end = _end_of_old_reasoning(finished, as_library)
    old = [each for each in messages[:end] if not _is_reasoning(each, as_library)]
    return [*old, *messages[end:]]


def _options(messages: Sequence[Message]) -> RenderOptions:
    return RenderOptions(any(map(_offers_functions, messages)))


def _is_closed(messages: Sequence[Message]) -> bool:
    """Whether the conversation ends in an answer."""
    return bool(messages) and _is_final(messages[-1])


def _finished_for_training(
    messages: Sequence[Message], as_library: frozenset[Difference]
) -> Sequence[Message]:
    """The messages whose reasoning may be old: the last turn's is what is to be learnt."""
    keeps_last_turn = Difference.OLD_REASONING not in as_library
    return messages[:-1] if _is_closed(messages) and keeps_last_turn else messages


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
