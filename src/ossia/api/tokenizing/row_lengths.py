"""RowLengths: how long rows of ids are to be: where they are cut, how far they are filled up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ossia.errors import RequestError
from ossia.log import logger

_log = logger(__name__)
_UNLIMITED = 10**20  # checkpoints write 1e30 as model_max_length where they know none
_PADDING = {False: "do_not_pad", None: "do_not_pad", True: "longest"}
_TRUNCATION = {False: "do_not_truncate", None: "do_not_truncate", True: "longest_first"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLengths:
    """Lengths as a tokenizer is asked for them.

    Args:
        pads: To what length.
        cuts_at: Longest row; None cuts none.
        length: That of "max_length".
        multiple_of: Padded lengths are a multiple of this.
        padding_side: Where padding stands.
        truncation_side: Where rows are cut.
    """

    pads: Literal["do_not_pad", "longest", "max_length"] | str
    cuts_at: int | None
    length: int | None
    multiple_of: int | None
    padding_side: str
    truncation_side: str

    @classmethod
    def of(
        cls,
        *,
        padding: object,
        truncation: object,
        max_length: int | None,
        model_max_length: int,
        multiple_of: int | None,
        padding_side: str,
        truncation_side: str,
    ) -> RowLengths:
        """What a tokenizer's arguments amount to, by transformers' rules.

        `max_length` alone means truncation; without it the model's own limit holds.

        Raises:
            RequestError: an unknown word, a length that is none, or one that is missing.
        """
        if max_length is not None and padding is False and truncation is None:
            truncation = True
        pads = _word(padding, _PADDING, ("max_length",), "padding")
        cuts = _word(truncation, _TRUNCATION, ("only_first",), "truncation") != "do_not_truncate"
        if max_length is not None and (type(max_length) is not int or max_length < 0):
            raise RequestError(f"{max_length!r} is no number of tokens", field="max_length")
        if padding_side not in ("left", "right"):
            raise RequestError(f"{padding_side!r} is neither left nor right", field="padding_side")
        length = max_length
        if length is None and model_max_length < _UNLIMITED:
            length = model_max_length
        if pads == "max_length" and length is None:
            raise RequestError(
                "this tokenizer has no longest length to fill up to; give one", field="max_length"
            )
        if cuts and pads != "do_not_pad" and multiple_of and (length or 0) % multiple_of:
            raise RequestError(
                f"{multiple_of} does not divide max_length={length}, at which rows are cut",
                field="pad_to_multiple_of",
            )
        if pads == "longest" and max_length is not None and not cuts:
            _log.warning("max_length does nothing with padding=True; padding='max_length' fills up")
        return cls(
            pads=pads,
            cuts_at=length if cuts else None,
            length=length,
            multiple_of=multiple_of,
            padding_side=padding_side,
            truncation_side=truncation_side,
        )

    def padded(self, lengths: Sequence[int]) -> int | None:
        """How far to fill up rows of these lengths; None leaves them."""
        if self.pads == "do_not_pad" or not lengths:
            return None
        length = max(lengths) if self.pads == "longest" else self.length or 0
        multiple = self.multiple_of or 1
        return -(-length // multiple) * multiple


def _word(
    value: object, meanings: dict[bool | None, str], others: tuple[str, ...], field: str
) -> str:
    value = getattr(value, "value", value)  # transformers has enumerations of them
    words = (*dict.fromkeys(meanings.values()), *others)
    if isinstance(value, bool) or value is None:
        return meanings[value]
    if value not in words:
        raise RequestError(f"{value!r} is none of True, False, {', '.join(words)}", field=field)
    return str(value)
