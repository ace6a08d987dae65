"""PaddedKV: keys and values of padded rows, those of earlier passes included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

KeysValues = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedKV:
    """What attention over a (batch, seq) array takes, wherever its padding is.

    Tokens are compared by their column: a row's first column is 0, that of the new tokens begins
    where the past ends. So causality and windows do not depend on what rope is told.

    Args:
        shape: (batch, new): the array that holds this pass's tokens.
        places: int64 (tokens,): index of each token into the flattened `shape`, rising; None where
            every place holds a token.
        key_positions: int64 (batch, past + new): a key's column, or -1 for what nobody may see.
        past: For each layer keys and values (batch, past, kv_heads, head_dim); empty without past.
        keep: Whether keys and values are wanted after the pass.
        present: Filled by the pass, if it keeps them: for each layer keys and values (batch,
            past + new, kv_heads, head_dim). By layer, so that a layer which is computed again
            changes nothing.
    """

    shape: tuple[int, int]
    places: torch.Tensor | None
    key_positions: torch.Tensor
    past: Sequence[KeysValues] = ()
    keep: bool = True
    present: dict[int, KeysValues] = field(default_factory=dict)

    @property
    def past_len(self) -> int:
        """Columns before the new tokens."""
        return self.key_positions.shape[1] - self.shape[1]

    def query_positions(self) -> torch.Tensor:
        """int64 (batch, new): the column of each new token, or of the padding in its place."""
        columns = torch.arange(
            self.past_len, self.key_positions.shape[1], device=self.key_positions.device
        )
        return columns.expand(self.shape)

    def extend(self, layer_idx: int, k: torch.Tensor, v: torch.Tensor) -> KeysValues:
        """Put new keys and values behind the past ones.

        Args:
            layer_idx: Whose they are.
            k: (tokens, kv_heads, head_dim).
            v: Like k.

        Returns:
            Both as (batch, past + new, kv_heads, head_dim), with zeros at this pass's padding.
        """
        k, v = self.spread(k), self.spread(v)
        if self.past:
            past_k, past_v = self.past[layer_idx]
            k, v = torch.cat((past_k.to(k.dtype), k), dim=1), torch.cat((past_v.to(v.dtype), v), 1)
        if self.keep:
            self.present[layer_idx] = (k, v)
        return k, v

    def spread(self, x: torch.Tensor) -> torch.Tensor:
        """(tokens, ...) to (batch, new, ...), with zeros at padding."""
        if self.places is None:
            return x.unflatten(0, self.shape)
        padded = x.new_zeros(self.shape[0] * self.shape[1], *x.shape[1:])
        return padded.index_copy(0, self.places, x).unflatten(0, self.shape)

    def gather(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, new, ...) to (tokens, ...): the reverse of `spread`."""
        flat = x.flatten(0, 1)
        return flat if self.places is None else flat[self.places]
