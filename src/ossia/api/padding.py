"""PaddedRows: a padded batch without its padding, and results put back to where they belong."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ossia.errors import RequestError
from ossia.model.batch import ForwardBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedRows:
    """The tokens of a padded (batch, seq) array one behind the other.

    Args:
        input_ids: int64 (tokens,).
        positions: int64 (tokens,).
        places: int64 (tokens,): index into the flattened (batch, seq).
        seq_lens: Tokens of each row that has any.
        shape: (batch, seq).
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    places: torch.Tensor
    seq_lens: list[int]
    shape: tuple[int, int]

    @classmethod
    def of(
        cls,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_ids: torch.Tensor | None,
        vocab_size: int,
    ) -> PaddedRows:
        """Take the padding out.

        Args:
            input_ids: int (batch, seq); what it holds at padding does not matter.
            attention_mask: (batch, seq), nonzero for tokens; None means no padding.
            position_ids: int (batch, seq) or (1, seq); None means 0, 1, 2, ... in every row.
            vocab_size: Bound of the ids.

        Raises:
            RequestError: shapes that do not fit, ids outside the vocabulary, or positions that do
                not rise along a row's tokens.
        """
        if input_ids.dim() != 2 or input_ids.is_floating_point():
            raise RequestError(
                f"expected integers of shape (batch, seq), got {input_ids.dtype} of "
                f"{tuple(input_ids.shape)}",
                field="input_ids",
            )
        kept = _kept(input_ids, attention_mask)  # (batch, seq) bool
        places = kept.flatten().nonzero().squeeze(1)
        ids = input_ids.flatten()[places].long()
        if bool(((ids < 0) | (ids >= vocab_size)).any()):
            raise RequestError(f"ids must be from 0 to {vocab_size - 1}", field="input_ids")
        positions = _positions(input_ids, position_ids).flatten()[places]
        rows = places // input_ids.shape[1]
        same_row = rows[1:] == rows[:-1]
        if bool(((positions[1:] <= positions[:-1]) & same_row).any()):
            raise RequestError("positions must rise along each row", field="position_ids")
        counts: list[int] = kept.sum(dim=1).tolist()
        return cls(
            input_ids=ids,
            positions=positions,
            places=places,
            seq_lens=[count for count in counts if count],
            shape=(input_ids.shape[0], input_ids.shape[1]),
        )

    def batch(self) -> ForwardBatch:
        """The tokens as the model takes them, without a cache."""
        return ForwardBatch(
            input_ids=self.input_ids, positions=self.positions, seq_lens=self.seq_lens
        )

    def pad(self, values: torch.Tensor) -> torch.Tensor:
        """(tokens, ...) to (batch, seq, ...), with zeros at padding."""
        batch, seq = self.shape
        if len(self.places) == batch * seq:
            return values.unflatten(0, self.shape)
        padded = values.new_zeros(batch * seq, *values.shape[1:])
        return padded.index_copy(0, self.places, values).unflatten(0, self.shape)


def _kept(input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    if attention_mask is None:
        return torch.ones_like(input_ids, dtype=torch.bool)
    if attention_mask.shape != input_ids.shape:
        raise RequestError(
            f"its shape {tuple(attention_mask.shape)} is not {tuple(input_ids.shape)}, that of "
            "input_ids",
            field="attention_mask",
        )
    return attention_mask.to(input_ids.device) != 0


def _positions(input_ids: torch.Tensor, position_ids: torch.Tensor | None) -> torch.Tensor:
    if position_ids is None:
        return torch.arange(input_ids.shape[1], device=input_ids.device).expand(input_ids.shape)
    if (
        position_ids.dim() != 2
        or position_ids.shape[1] != input_ids.shape[1]
        or position_ids.shape[0] not in (1, input_ids.shape[0])
    ):
        raise RequestError(
            f"its shape {tuple(position_ids.shape)} is not {tuple(input_ids.shape)}, that of "
            "input_ids",
            field="position_ids",
        )
    return position_ids.to(input_ids.device).long().expand(input_ids.shape)
