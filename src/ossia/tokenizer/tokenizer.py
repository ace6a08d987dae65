"""Tokenizer: text to ids and back, over a checkpoint's tokenizer.json or the packed vocabulary.

It knows no conversations. Text from outside can never become a special token unless the caller
asks for that in so many words (`encode_with_special`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Final

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from ossia.errors import CheckpointError, RequestError
from ossia.garbage import collector_paused
from ossia.tokenizer import byte_level, special, vocabulary
from ossia.tokenizer.packed_bytes import PackedBytes

_SPECIAL_SHAPE: Final = re.compile(r"<\|[a-z]+(?:_\d+)?\|>")
_ID_OF_SPECIAL: Final = {text: token_id for token_id, text in special.SPECIAL_TOKENS.items()}


class Tokenizer:
    """The o200k_harmony tokenizer. Safe to share between threads.

    Args:
        backend: A byte-level BPE tokenizer; from here on it belongs to this object.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        # Special tokens are split off here, never by the backend.
        backend.encode_special_tokens = True
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend
        self._is_packaged = False

    @classmethod
    def from_folder(cls, path: str | Path) -> Tokenizer:
        """Read the tokenizer.json of a checkpoint folder.

        The published file is known by its checksum, and not parsed: it is `o200k_harmony`.

        Raises:
            CheckpointError: the file is missing, damaged, or not a gpt-oss tokenizer.
        """
        file = Path(path) / "tokenizer.json"
        if not file.is_file():
            raise CheckpointError("not found; copy it from the original checkpoint", file=file)
        try:
            if vocabulary.is_published(file):
                return cls.o200k_harmony()
            backend = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception for all that is wrong
            raise CheckpointError(f"not a tokenizer: {error}", file=file) from error
        _require_gpt_oss(backend, file)
        return cls(backend)

    @classmethod
    def o200k_harmony(cls) -> Tokenizer:
        """The tokenizer of every gpt-oss model, from the package itself; made once a process."""
        return _packaged()

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding, 201,088: ids are below it."""
        return special.VOCAB_SIZE

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; special tokens written in it stay text.

        Lone surrogates, which no UTF-8 text can hold, become U+FFFD.
        """
        try:
            return self._backend.encode(text, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError):
            return self._backend.encode(_mended(text), add_special_tokens=False).ids

    def encode_with_special(self, text: str) -> list[int]:
        """Ids of trusted text, such as a rendered template: `<|start|>` becomes its one id."""
        ids: list[int] = []
        for piece in split_at_special(text):
            ids += self.encode(piece) if isinstance(piece, str) else [piece]
        return ids

    def words(self, text: str) -> list[int]:
        """Lengths in bytes of the words into which plain text is cut; no token spans two words."""
        pre_tokenizer = self._backend.pre_tokenizer
        assert pre_tokenizer is not None, "byte-level tokenizers have one"
        # Each character of the byte-level alphabet stands for a byte.
        return [len(word) for word, _ in pre_tokenizer.pre_tokenize_str(text)]

    def id_to_name(self, token_id: int) -> str | None:
        """How tokenizer.json writes a token, in the byte-level alphabet; None for ids without one."""
        name = special.SPECIAL_TOKENS.get(token_id)
        return name if name is not None else self._backend.id_to_token(token_id)

    def name_to_id(self, name: str) -> int | None:
        """The id of a token that is written so in tokenizer.json; None if there is none."""
        token_id = _ID_OF_SPECIAL.get(name)
        return token_id if token_id is not None else self._backend.token_to_id(name)

    def names(self) -> dict[str, int]:
        """The vocabulary that tokenizer.json lists: 199,998 ordinary and 21 special tokens."""
        listed = {
            name: token_id
            for token_id, name in special.SPECIAL_TOKENS.items()
            if token_id <= special.LAST_LISTED
        }
        return self._backend.get_vocab(with_added_tokens=False) | listed

    def to_json(self) -> bytes:
        """A tokenizer.json that gives this tokenizer."""
        if self._is_packaged:
            return vocabulary.tokenizer_json()
        return self._backend.to_str(pretty=True).encode()

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled, the packaged vocabulary is a word; another travels whole."""
        if self._is_packaged:
            return (Tokenizer.o200k_harmony, ())
        return (Tokenizer, (self._backend,))

    def __deepcopy__(self, memo: object) -> Tokenizer:
        """Nothing of it ever changes, so a copy is the object itself."""
        return self

    def decode(
        self, ids: Iterable[int], *, errors: str = "replace", skip_special: bool = False
    ) -> str:
        """Text of ids.

        Args:
            ids: Token ids.
            errors: What to do where the bytes are no UTF-8, as in `bytes.decode`.
            skip_special: Leave special tokens out instead of writing their names.

        Raises:
            RequestError: an id is not in the vocabulary.
            UnicodeDecodeError: the bytes are no UTF-8 and `errors` is "strict".
        """
        return self.decode_bytes(ids, skip_special=skip_special).decode("utf-8", errors)

    def decode_bytes(self, ids: Iterable[int], *, skip_special: bool = False) -> bytes:
        """The bytes that ids stand for; parameters and errors as in `decode`."""
        if skip_special:
            ids = (token_id for token_id in ids if not special.is_special(token_id))
        return b"".join(map(self.token_bytes, ids))

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token; of a special token, its name.

        Raises:
            RequestError: the id is not in the vocabulary.
        """
        if 0 <= token_id < special.FIRST_SPECIAL:
            return self.ordinary_tokens[token_id]
        name = special.SPECIAL_TOKENS.get(token_id)
        if name is None:
            raise RequestError(
                f"{token_id} is not between 0 and {special.VOCAB_SIZE - 1}", field="token id"
            )
        return name.encode()

    @cached_property
    def ordinary_tokens(self) -> PackedBytes:
        """The bytes of all tokens that are not special, by id."""
        if self._is_packaged:
            return vocabulary.token_bytes()
        return PackedBytes(map(self._look_up, range(special.FIRST_SPECIAL)))

    def _look_up(self, token_id: int) -> bytes:
        text = self._backend.id_to_token(token_id)
        assert text is not None, "the constructor's callers check that every rank is there"
        return byte_level.to_bytes(text)


@cache
def _packaged() -> Tokenizer:
    with collector_paused():
        tokens = vocabulary.token_texts()
        model = models.BPE(
            vocab={token: rank for rank, token in enumerate(tokens)},
            merges=vocabulary.merges_that_happen(tokens),
            ignore_merges=True,
        )
    backend = tokenizers.Tokenizer(model)
    split = pre_tokenizers.Split(tokenizers.Regex(vocabulary.SPLIT_PATTERN), "isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, as_bytes])
    backend.decoder = decoders.ByteLevel()
    tokenizer = Tokenizer(backend)
    tokenizer._is_packaged = True
    return tokenizer


def split_at_special(text: str, last: int = special.VOCAB_SIZE - 1) -> Iterator[str | int]:
    """Text cut at the names of special tokens.

    Args:
        text: In which `<|start|>` and the like are meant.
        last: Names of special tokens beyond this id stay text.

    Yields:
        Pieces of plain text, none of them empty, and ids of special tokens.
    """
    done = 0
    for match in _SPECIAL_SHAPE.finditer(text):
        token_id = _ID_OF_SPECIAL.get(match.group())
        if token_id is None or token_id > last:
            continue
        if match.start() > done:
            yield text[done : match.start()]
        yield token_id
        done = match.end()
    if done < len(text):
        yield text[done:]


def _require_gpt_oss(backend: tokenizers.Tokenizer, file: Path) -> None:
    """Refuse a tokenizer whose ids mean something else than harmony's."""
    for token_id in (
        special.RETURN,
        special.CONSTRAIN,
        special.CHANNEL,
        special.START,
        special.END,
        special.MESSAGE,
        special.CALL,
    ):
        expected, found = special.SPECIAL_TOKENS[token_id], backend.id_to_token(token_id)
        if found != expected:
            raise CheckpointError(
                f"token {token_id} is {found!r}, not {expected!r}; this is no gpt-oss tokenizer",
                file=file,
            )
    if backend.get_vocab_size(with_added_tokens=False) != special.FIRST_SPECIAL:
        raise CheckpointError(
            f"it has {backend.get_vocab_size(with_added_tokens=False)} ordinary tokens, "
            f"not {special.FIRST_SPECIAL}",
            file=file,
        )


def without_surrogates(text: str) -> str:
    """Text as UTF-8 can hold it: halves of surrogate pairs put together, or U+FFFD where alone."""
    return text if text.isascii() else _mended(text)


def _mended(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
