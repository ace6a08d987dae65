"""BatchEncoding: what a tokenizer gives and a model takes, by key, by attribute or by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ossia.api.tokenizing.encoded_text import CharSpan, EncodedText, TokenSpan
from ossia.errors import RequestError

if TYPE_CHECKING:
    import torch


class BatchEncoding(dict[str, Any]):
    """Named columns (`input_ids`, `attention_mask`, ...), and the texts they come from.

    Args:
        data: The columns: a list for one text, a list of lists or an array for several.
        encodings: The texts, for what is asked by place: `encoding[0]`, `tokens()`, ...
        tensor_type: Turn the columns into "pt" tensors or "np" arrays.
        prepend_batch_axis: Make columns of one text columns of a batch of one.

    Raises:
        RequestError: texts of different lengths cannot be one tensor.
    """

    is_fast = True

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        encodings: Sequence[EncodedText] | None = None,
        tensor_type: str | None = None,
        prepend_batch_axis: bool = False,
    ) -> None:
        super().__init__(data or {})
        self._encodings = encodings
        self.convert_to_tensors(tensor_type, prepend_batch_axis=prepend_batch_axis)

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401  (a name, a place or a slice)
        """A column by name, a text by its place, or the columns of a slice of texts."""
        if isinstance(key, str):
            return super().__getitem__(key)
        if self._encodings is not None:
            return self._encodings[key]
        if isinstance(key, slice):
            return {name: column[key] for name, column in self.items()}
        raise KeyError(f"{key!r}: there is no text here; use the name of a column")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (lists, arrays or tensors)
        if name.startswith("_") or name not in self:
            raise AttributeError(name)
        return super().__getitem__(name)

    @property
    def encodings(self) -> Sequence[EncodedText] | None:
        """The texts."""
        return self._encodings

    @property
    def n_sequences(self) -> int | None:
        """Texts in each row: one, or not known."""
        return 1 if self._encodings else None

    def to(self, device: str | int | torch.device, *, non_blocking: bool = False) -> BatchEncoding:
        """Move the tensors to a device; what is no tensor stays as it is. Gives itself back."""
        import torch

        for name, column in self.items():
            if isinstance(column, torch.Tensor):
                self[name] = column.to(device, non_blocking=non_blocking)
        return self

    def convert_to_tensors(
        self, tensor_type: str | None = None, prepend_batch_axis: bool = False
    ) -> BatchEncoding:
        """Turn the columns into tensors ("pt") or arrays ("np"). Gives itself back.

        Raises:
            RequestError: columns of texts of different lengths, or another type.
        """
        if tensor_type is None:
            return self
        for name, column in self.items():
            rows = [column] if prepend_batch_axis else column
            self[name] = as_tensor(rows, str(getattr(tensor_type, "value", tensor_type)))
        return self

    def tokens(self, batch_index: int = 0) -> list[str | None]:
        """The tokens of a text, as tokenizer.json writes them."""
        return self._text(batch_index).tokens

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """The number of each token's word; None for padding."""
        return self._text(batch_index).word_ids

    def sequence_ids(self, batch_index: int = 0) -> list[int | None]:
        """0 for tokens of the text, None for padding."""
        return self._text(batch_index).sequence_ids

    def token_to_sequence(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> int | None:
        """0 for a token of the text, None for padding."""
        text, token = self._place(batch_or_token_index, token_index)
        return text.sequence_ids[token]

    def token_to_word(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> int | None:
        """The number of the word that a token belongs to."""
        text, token = self._place(batch_or_token_index, token_index)
        return text.word_ids[token]

    def token_to_chars(
        self, batch_or_token_index: int, token_index: int | None = None
    ) -> CharSpan | None:
        """The characters that a token stands for; None for padding."""
        text, token = self._place(batch_or_token_index, token_index)
        return None if text.sequence_ids[token] is None else CharSpan(*text.offsets[token])

    def char_to_token(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The first token that holds a character; None where there is none."""
        text, char = self._place(batch_or_char_index, char_index)
        return text.char_to_token(char) if sequence_index == 0 else None

    def word_to_tokens(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> TokenSpan | None:
        """The tokens of a word; None if it has none."""
        text, word = self._place(batch_or_word_index, word_index)
        found = text.word_to_tokens(word) if sequence_index == 0 else None
        return None if found is None else TokenSpan(*found)

    def word_to_chars(
        self, batch_or_word_index: int, word_index: int | None = None, sequence_index: int = 0
    ) -> CharSpan | None:
        """The characters of a word; None if it has no token."""
        text, word = self._place(batch_or_word_index, word_index)
        found = text.word_to_tokens(word) if sequence_index == 0 else None
        if found is None:
            return None
        return CharSpan(text.offsets[found[0]][0], text.offsets[found[1] - 1][1])

    def char_to_word(
        self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0
    ) -> int | None:
        """The number of the word that holds a character."""
        text, char = self._place(batch_or_char_index, char_index)
        token = text.char_to_token(char) if sequence_index == 0 else None
        return None if token is None else text.word_ids[token]

    def _text(self, place: int) -> EncodedText:
        if self._encodings is None:
            raise RequestError(
                "these ids were not made from text; call the tokenizer on the text itself",
                field="encodings",
            )
        return self._encodings[place]

    def _place(self, first: int, second: int | None) -> tuple[EncodedText, int]:
        """(text, place in it) of either `place` or `text, place`."""
        return (self._text(0), first) if second is None else (self._text(first), second)


def as_tensor(rows: Any, kind: str) -> Any:  # noqa: ANN401  (whatever can be an array)
    """An array or tensor of numbers; one that is there already is only wrapped.

    Args:
        rows: Nested lists, an array or a tensor.
        kind: "pt" or "np".

    Raises:
        RequestError: rows of different lengths, or an unknown kind.
    """
    if kind not in ("pt", "np"):
        raise RequestError(f"{kind!r} is neither pt nor np", field="return_tensors")
    try:
        return _torch_tensor(rows) if kind == "pt" else _numpy_array(rows)
    except (ValueError, TypeError) as error:
        raise RequestError(
            "texts of different lengths need padding=True, or truncation to one length",
            field="return_tensors",
        ) from error


def _torch_tensor(rows: Any) -> Any:  # noqa: ANN401
    import torch

    if isinstance(rows, torch.Tensor):
        return rows
    if isinstance(rows, list | tuple) and rows and isinstance(rows[0], torch.Tensor):
        return torch.stack(list(rows))
    tensor = torch.as_tensor(rows)
    # An empty text has no number that would say that ids are integers.
    return tensor.long() if tensor.numel() == 0 else tensor


def _numpy_array(rows: Any) -> Any:  # noqa: ANN401
    import numpy as np

    array = np.asarray(rows)
    return array.astype(np.int64) if array.size == 0 else array
