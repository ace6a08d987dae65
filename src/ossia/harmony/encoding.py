"""HarmonyEncoding: renderer, parser and vocabulary under the names of the `openai_harmony` package.

Code written for that package runs with the import line changed. The vocabulary comes with Ossia;
nothing is downloaded. Rendering differs where `differences.py` says so, unless it is told not to.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence, Set
from enum import StrEnum
from functools import cached_property
from operator import index
from typing import Final, Literal

from ossia.errors import ConfigError, HarmonyError
from ossia.harmony.differences import NONE, Difference
from ossia.harmony.messages import Message, Role
from ossia.harmony.parser import parse_messages
from ossia.harmony.render import Renderer
from ossia.tokenizer import Tokenizer, special

_MARKED: Final = re.compile(r"<\|[a-z]+(?:_\d+)?\|>")

# The library's list goes one past the model's ids, and knows endofprompt by its number only.
_SPECIAL_TEXTS: Final = {
    **special.SPECIAL_TOKENS,
    special.ENDOFPROMPT: f"<|reserved_{special.ENDOFPROMPT}|>",
    special.VOCAB_SIZE: f"<|reserved_{special.VOCAB_SIZE}|>",
}
_SPECIAL_IDS: Final = {text: token for token, text in _SPECIAL_TEXTS.items()}


class HarmonyEncodingName(StrEnum):
    """The encodings there are."""

    HARMONY_GPT_OSS = "HarmonyGptOss"


class HarmonyEncoding(Renderer):
    """Conversations to tokens and back; the rendering methods are those of `Renderer`.

    Args:
        tokenizer: The vocabulary.
        name: What the encoding is called.
        as_library: Differences that are switched back to the `openai_harmony` package's way.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        name: str = HarmonyEncodingName.HARMONY_GPT_OSS,
        *,
        as_library: frozenset[Difference] = NONE,
    ) -> None:
        super().__init__(tokenizer, as_library=as_library)
        self.tokenizer = tokenizer
        self._name = str(name)

    @property
    def name(self) -> str:
        """What the encoding is called."""
        return self._name

    @cached_property
    def special_tokens_set(self) -> set[str]:
        """The texts of all special tokens."""
        return set(_SPECIAL_IDS)

    def parse_messages_from_completion_tokens(
        self, tokens: Sequence[int], role: Role | None = None, *, strict: bool = True
    ) -> list[Message]:
        """The messages of what a model wrote.

        Args:
            tokens: All of it.
            role: Whose header it begins in, where the prompt ended in `<|start|>role`; None if it
                begins with `<|start|>` itself.
            strict: Raise where the format is broken; else mend it (see `StreamParser`).

        Raises:
            HarmonyError: in strict parsing, the tokens break the format.
        """
        return parse_messages(self.tokenizer, tokens, role, strict=strict, channel_required=False)

    def encode(
        self,
        text: str,
        *,
        allowed_special: Literal["all"] | Set[str] = frozenset(),
        disallowed_special: Literal["all"] | Collection[str] = "all",
    ) -> list[int]:
        """Ids of a text that may hold special tokens.

        Args:
            text: The text.
            allowed_special: Special tokens that become their one id.
            disallowed_special: Texts that are refused; "all" refuses every special token that is
                not allowed, () refuses none and encodes them as plain text.

        Raises:
            HarmonyError: the text holds something disallowed.
        """
        allowed = self.special_tokens_set if allowed_special == "all" else allowed_special
        self._refuse(text, disallowed_special, allowed)
        ids: list[int] = []
        done = 0
        for match in _MARKED.finditer(text):
            if match.group() in allowed and match.group() in _SPECIAL_IDS:
                ids += self.tokenizer.encode(text[done : match.start()])
                ids.append(_SPECIAL_IDS[match.group()])
                done = match.end()
        return ids + self.tokenizer.encode(text[done:])

    def decode(self, tokens: Iterable[int], errors: str = "replace") -> str:
        """Text of ids; `errors` says what to do where it is no UTF-8, as in `bytes.decode`.

        Raises:
            HarmonyError: an id is not in the vocabulary.
        """
        return b"".join(map(self._token_bytes, map(index, tokens))).decode("utf-8", errors)

    def decode_utf8(self, tokens: Iterable[int]) -> str:
        """Text of ids.

        Raises:
            HarmonyError: an id is not in the vocabulary, or the bytes are no UTF-8.
        """
        try:
            return self.decode(tokens, "strict")
        except UnicodeDecodeError as error:
            raise HarmonyError(
                f"Could not decode tokens: Invalid utf-8 sequence: {error.reason} "
                f"from index {error.start}; decode() puts U+FFFD there"
            ) from None

    def is_special_token(self, token: int) -> bool:
        """Whether an id is a special token's."""
        return token in _SPECIAL_TEXTS

    def stop_tokens(self) -> list[int]:
        """Ids that end a message."""
        return sorted(special.STOP_TOKENS)

    def stop_tokens_for_assistant_actions(self) -> list[int]:
        """Ids at which an assistant hands over: its answer is complete, or a tool is to run."""
        return sorted(special.ACTION_STOP_TOKENS)

    def _token_bytes(self, token: int) -> bytes:
        if (text := _SPECIAL_TEXTS.get(token)) is not None:
            return text.encode()
        if not 0 <= token < special.FIRST_SPECIAL:
            raise HarmonyError(f"Invalid token for decoding: {token}")
        return self.tokenizer.token_bytes(token)

    def _refuse(
        self, text: str, disallowed: Literal["all"] | Collection[str], allowed: Set[str]
    ) -> None:
        if disallowed == "all":
            refused = [
                word
                for word in _MARKED.findall(text)
                if word in _SPECIAL_IDS and word not in allowed
            ]
        else:
            found = [word for word in disallowed if word in text]
            refused = sorted(found, key=lambda word: (text.index(word), -len(word)))
        if refused:
            raise HarmonyError(
                "Encountered text corresponding to disallowed special token "
                f"{refused[0]!r}; name it in allowed_special to encode it as that token, or pass "
                "disallowed_special=() to encode it as text"
            )


def load_harmony_encoding(
    name: str | HarmonyEncodingName, *, as_library: frozenset[Difference] = NONE
) -> HarmonyEncoding:
    """The encoding of that name, with the vocabulary that comes with the package.

    Args:
        name: `HarmonyGptOss`.
        as_library: Differences that are switched back to the `openai_harmony` package's way.

    Raises:
        ConfigError: there is no encoding of that name.
    """
    if str(name) != HarmonyEncodingName.HARMONY_GPT_OSS:
        raise ConfigError(f"unknown encoding {str(name)!r}; there is only HarmonyGptOss")
    return HarmonyEncoding(Tokenizer.o200k_harmony(), name, as_library=as_library)
