"""TokenPadding: the part of a tokenizer that fills up what was encoded before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ossia.api.tokenizing.batch_encoding import BatchEncoding
from ossia.api.tokenizing.row_lengths import RowLengths
from ossia.errors import RequestError

_FILLERS = {"attention_mask": 0, "token_type_ids": 0, "special_tokens_mask": 1}


class TokenPadding:
    """What data collators ask of a tokenizer."""

    model_input_names = ("input_ids", "attention_mask")
    # Of the tokenizer that this is a part of.
    pad_token_id: Any
    padding_side: Any
    model_max_length: int

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Fill up rows to one length.

        Args:
            encoded_inputs: Columns by name, or a list of examples with such names. `input_ids`,
                `attention_mask`, `token_type_ids` and `special_tokens_mask` are filled up;
                `labels` and others are passed on as they are.
            padding: True or "longest", "max_length", or False.
            max_length: For "max_length"; None is `model_max_length`.
            pad_to_multiple_of: Padded lengths are a multiple of this.
            padding_side: "left" or "right" in place of the tokenizer's own.
            return_attention_mask: False leaves `attention_mask` out where it is not there.
            return_tensors: "pt" or "np"; None gives back what was given.
            verbose: Makes no difference.

        Raises:
            RequestError: no `input_ids`, rows that differ in number, or other bad arguments.
        """
        del verbose
        columns = _columns(encoded_inputs)
        if "input_ids" not in columns:
            raise RequestError(
                f"missing among {', '.join(columns) or 'nothing'}", field="input_ids"
            )
        if len(columns["input_ids"]) == 0:
            return BatchEncoding(columns)
        if return_tensors is None:
            return_tensors = _kind(columns["input_ids"])
        columns = {name: _plain(column) for name, column in columns.items()}
        is_single = not isinstance(columns["input_ids"][0], list)
        if is_single:
            columns = {name: [column] for name, column in columns.items()}
        if len({len(column) for column in columns.values()}) > 1:
            raise RequestError("the columns have different numbers of rows", field="encoded_inputs")
        if return_attention_mask is not False and "attention_mask" not in columns:
            columns["attention_mask"] = [[1] * len(row) for row in columns["input_ids"]]
        lengths = RowLengths.of(
            padding=padding,
            truncation=False,
            max_length=max_length,
            model_max_length=self.model_max_length,
            multiple_of=pad_to_multiple_of,
            padding_side=padding_side or self.padding_side,
            truncation_side="right",
        )
        self._fill(columns, lengths)
        if is_single:
            columns = {name: column[0] for name, column in columns.items()}
        return BatchEncoding(columns, tensor_type=return_tensors)

    def pad_id_to_use(self) -> int:
        """The padding token's id.

        Raises:
            RequestError: there is none.
        """
        if self.pad_token_id is None:
            raise RequestError(
                "there is none; set tokenizer.pad_token = tokenizer.eos_token", field="pad_token"
            )
        return self.pad_token_id

    def _fill(self, columns: dict[str, Any], lengths: RowLengths) -> None:
        length = lengths.padded([len(row) for row in columns["input_ids"]])
        if length is None:
            return
        fillers = {"input_ids": self.pad_id_to_use(), **_FILLERS}
        for name in columns.keys() & fillers:
            for row in columns[name]:
                missing = [fillers[name]] * (length - len(row))
                row[:] = missing + row if lengths.padding_side == "left" else row + missing


def _columns(encoded_inputs: Any) -> dict[str, Any]:  # noqa: ANN401
    """Examples as columns; a copy, so that what was given stays as it is."""
    if isinstance(encoded_inputs, Mapping):
        return dict(encoded_inputs)
    if not encoded_inputs:
        raise RequestError("is empty", field="encoded_inputs")
    return {
        name: [example[name] for example in encoded_inputs]
        for name in encoded_inputs[0].keys()  # noqa: SIM118
    }


def _kind(column: Any) -> str | None:  # noqa: ANN401
    """Which library's arrays a column is made of."""
    first = column[0] if isinstance(column, list | tuple) else column
    module = type(first).__module__.partition(".")[0]
    return {"torch": "pt", "numpy": "np"}.get(module)


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Arrays as lists, and lists copied."""
    if callable(to_list := getattr(value, "tolist", None)):
        return to_list()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
