"""TextEncoding: the part of a tokenizer that turns texts into ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ossia.api.tokenizing.batch_encoding import BatchEncoding
from ossia.api.tokenizing.encoded_text import EncodedText
from ossia.api.tokenizing.row_lengths import RowLengths
from ossia.api.tokenizing.token_padding import TokenPadding
from ossia.errors import RequestError
from ossia.log import logger
from ossia.tokenizer import Tokenizer

_log = logger(__name__)
Text = str | Sequence[str] | Sequence[Sequence[str]]


class TextEncoding(TokenPadding):
    """What a tokenizer does when it is called."""

    # Of the tokenizer that this is a part of.
    tokenizer: Tokenizer
    split_special_tokens: bool
    truncation_side: Any
    _told_too_long = False

    def __call__(
        self,
        text: Text | None = None,
        text_pair: Text | None = None,
        text_target: Text | None = None,
        text_pair_target: Text | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        tokenizer_kwargs: Mapping[str, Any] | None = None,
        split_special_tokens: bool | None = None,
    ) -> BatchEncoding:
        """Encode a text, or several.

        Args:
            text: A text or a list of texts; with `is_split_into_words` a list of words or a list of
                such lists.
            text_pair: Not supported: gpt-oss was trained on no pairs. Join the texts.
            text_target: Texts whose ids become `labels`, or the `input_ids` if there is no `text`.
            text_pair_target: Not supported.
            add_special_tokens: Makes no difference: this tokenizer adds none.
            padding: True or "longest" fills up to the longest text, "max_length" to `max_length`.
            truncation: Cut what exceeds `max_length`; so does `max_length` alone.
            max_length: In tokens; None is `model_max_length`.
            stride: Not supported, as overflowing tokens are not.
            is_split_into_words: Texts are given as lists of words, which are encoded one by one.
            pad_to_multiple_of: Padded lengths are a multiple of this.
            padding_side: "left" or "right" in place of the tokenizer's own.
            return_tensors: "pt" or "np" for tensors or arrays (texts, length) instead of lists.
            return_token_type_ids: Add `token_type_ids`, all 0.
            return_attention_mask: False leaves `attention_mask` out.
            return_overflowing_tokens: Not supported: cut the text yourself.
            return_special_tokens_mask: Add `special_tokens_mask`, 1 for padding.
            return_offsets_mapping: Add `offset_mapping`: characters of each token.
            return_length: Add `length`: tokens with padding.
            verbose: Whether a text longer than `model_max_length` is logged.
            tokenizer_kwargs: Not supported here; give its items as arguments.
            split_special_tokens: Whether names of special tokens in the text are mere text; None is
                the tokenizer's own setting.

        Returns:
            The ids, by name.

        Raises:
            RequestError: an argument is not as described, or no text.
        """
        if tokenizer_kwargs:
            raise RequestError("give its items as arguments themselves", field="tokenizer_kwargs")
        refuse_pair(text_pair, "text_pair")
        refuse_pair(text_pair_target, "text_pair_target")
        if stride or return_overflowing_tokens:
            field = "stride" if stride else "return_overflowing_tokens"
            raise RequestError("not supported; cut the text yourself", field=field)
        del add_special_tokens  # there are none to add
        source = text_target if text is None else text
        if source is None:
            raise RequestError("there is none; give a text or a list of texts", field="text")
        split = self.split_special_tokens if split_special_tokens is None else split_special_tokens
        rows, is_batched = self._rows(source, is_split_into_words, split)
        options = {
            "padding": padding,
            "truncation": truncation,
            "max_length": max_length,
            "pad_to_multiple_of": pad_to_multiple_of,
            "padding_side": padding_side,
            "return_tensors": return_tensors,
        }
        found = self._encoding(
            rows,
            is_batched,
            return_token_type_ids=return_token_type_ids,
            return_attention_mask=return_attention_mask,
            return_special_tokens_mask=return_special_tokens_mask,
            return_offsets_mapping=return_offsets_mapping,
            return_length=return_length,
            verbose=verbose,
            **options,
        )
        if text is not None and text_target is not None:
            targets, _ = self._rows(text_target, is_split_into_words, split)
            found["labels"] = self._encoding(targets, is_batched, **options)["input_ids"]
        return found

    def encode(self, text: Text, text_pair: Text | None = None, **options: Any) -> Any:  # noqa: ANN401
        """The ids alone; arguments are those of a call."""
        return self(text, text_pair, **options)["input_ids"]

    def encode_plus(
        self,
        text: Text,
        text_pair: Text | None = None,
        **options: Any,  # noqa: ANN401
    ) -> BatchEncoding:
        """The same as a call, by its older name."""
        return self(text, text_pair, **options)

    def batch_encode_plus(
        self,
        batch_text_or_text_pairs: Sequence[Any],
        **options: Any,  # noqa: ANN401
    ) -> BatchEncoding:
        """The same as a call with several texts, by its older name."""
        return self(list(batch_text_or_text_pairs), **options)

    def tokenize(
        self,
        text: str,
        pair: str | None = None,
        add_special_tokens: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> list[str | None]:
        """The tokens of a text, as tokenizer.json writes them."""
        return self(text, pair, add_special_tokens=add_special_tokens, **options).tokens()

    def _rows(
        self, source: Text, is_split_into_words: bool, split_special: bool
    ) -> tuple[list[EncodedText], bool]:
        """The texts encoded, and whether several were given."""
        if not isinstance(source, str | list | tuple):
            raise RequestError(
                f"{type(source).__name__} is neither a text nor a list", field="text"
            )
        if is_split_into_words:
            return self._rows_of_words(source, split_special)
        is_batched = not isinstance(source, str)
        texts = source if is_batched else [source]
        if wrong := next((text for text in texts if not isinstance(text, str)), None):
            raise RequestError(
                f"{type(wrong).__name__} found where a text belongs; pairs are not supported, and "
                "lists of words need is_split_into_words=True",
                field="text",
            )
        return [
            EncodedText.of(self.tokenizer, str(text), split_special=split_special) for text in texts
        ], is_batched

    def _rows_of_words(self, source: Text, split_special: bool) -> tuple[list[EncodedText], bool]:
        is_batched = bool(source) and not isinstance(source[0], str)
        lists = source if is_batched else [source]
        for words in lists:
            if isinstance(words, str) or not all(isinstance(word, str) for word in words):
                raise RequestError(
                    "is_split_into_words=True needs a list of words, or a list of such lists",
                    field="text",
                )
        return [
            EncodedText.of_words(
                self.tokenizer, [str(word) for word in words], split_special=split_special
            )
            for words in lists
        ], is_batched

    def _encoding(
        self,
        rows: list[EncodedText],
        is_batched: bool,
        *,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Rows cut, padded and put under their names."""
        lengths = RowLengths.of(
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            model_max_length=self.model_max_length,
            multiple_of=pad_to_multiple_of,
            padding_side=padding_side or self.padding_side,
            truncation_side=self.truncation_side,
        )
        self._fit(rows, lengths)
        if verbose and max_length is None:
            self._tell_if_too_long(rows)
        columns: dict[str, list[Any]] = {"input_ids": [row.ids for row in rows]}
        if return_token_type_ids:
            columns["token_type_ids"] = [row.type_ids for row in rows]
        if return_attention_mask is not False:
            columns["attention_mask"] = [row.attention_mask for row in rows]
        if return_special_tokens_mask:
            columns["special_tokens_mask"] = [row.special_tokens_mask for row in rows]
        if return_offsets_mapping:
            columns["offset_mapping"] = [row.offsets for row in rows]
        if return_length:
            columns["length"] = [len(row) for row in rows]
        if is_batched or return_tensors is not None:
            return BatchEncoding(columns, rows, return_tensors)
        alone = {
            name: column if name == "length" else column[0] for name, column in columns.items()
        }
        return BatchEncoding(alone, rows)

    def _fit(self, rows: list[EncodedText], lengths: RowLengths) -> None:
        if lengths.cuts_at is not None:
            for row in rows:
                row.truncate(lengths.cuts_at, lengths.truncation_side)
        filled = lengths.padded([len(row) for row in rows])
        if filled is not None:
            pad_id = self.pad_id_to_use()
            for row in rows:
                row.pad(filled, lengths.padding_side, pad_id)

    def _tell_if_too_long(self, rows: list[EncodedText]) -> None:
        longest = max((len(row) for row in rows), default=0)
        if longest > self.model_max_length and not self._told_too_long:
            self._told_too_long = True
            _log.warning(
                "a text of %d tokens is longer than the model's %d", longest, self.model_max_length
            )


def refuse_pair(value: object, field: str) -> None:
    """Refuse the second text of a pair."""
    if value is not None:
        raise RequestError("pairs are not supported; join the two texts into one", field=field)
