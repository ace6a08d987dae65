"""PaddedRows: a padded array of tokens on its way through the model, without its padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ossia.api.models.cache import DynamicCache
from ossia.errors import RequestError
from ossia.model.padded_kv import PaddedKV


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedRows:
    """Where the tokens of a (batch, seq) array are.

    Padding does not go through the model, unless something is wanted of it. While a graph is being
    traced nobody knows where it is; then it goes along, seen by nobody, and is blanked at the end.

    Args:
        shape: (batch, seq) of the new tokens.
        places: int64 (tokens,): index into the flattened shape; None where all of it is taken.
        taken: bool (batch, seq): what of it counts, where padding goes along; None otherwise.
        visible: bool (batch, past + seq): columns that may be attended to; None for all.
        computed: bool (batch, past + seq): columns that have keys; None for all.
        past_len: Columns before the new ones.
        device: Where the model is.
    """

    shape: tuple[int, int]
    places: torch.Tensor | None
    taken: torch.Tensor | None
    visible: torch.Tensor | None
    computed: torch.Tensor | None
    past_len: int
    device: torch.device

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        attention_mask: torch.Tensor | None,
        cache: DynamicCache | None,
        device: torch.device,
        wanted: torch.Tensor | None = None,
    ) -> PaddedRows:
        """Find the tokens.

        Args:
            shape: (batch, seq).
            attention_mask: (batch, past + seq), nonzero for tokens; None means no padding.
            cache: What is remembered of the columns before.
            device: Where the model is.
            wanted: bool (batch, seq): padding that is to go through the model all the same, seen by
                nobody.

        Raises:
            RequestError: shapes that do not fit.
        """
        batch, seq = shape
        past_len = 0 if cache is None else cache.get_seq_length()
        _check_batch(batch, cache)
        visible = _visible(attention_mask, (batch, past_len + seq), device)
        taken = None if visible is None else visible[:, past_len:]
        if taken is not None and wanted is not None:
            taken = taken | wanted.to(device)
        places = None
        if taken is not None and not torch.compiler.is_compiling():
            places = taken.flatten().nonzero().squeeze(1)
            if len(places) == batch * seq:
                taken = places = None
        past = None if cache is None else cache.past_tokens()
        computed = _computed(past, taken, shape, past_len, device)
        if visible is not None and past is not None and computed is not None:
            # What was padding when it was written has no keys that anybody could see.
            visible = visible & computed
        return cls(
            shape=shape,
            places=places,
            taken=taken if places is None else None,
            visible=computed if visible is None else visible,
            computed=computed,
            past_len=past_len,
            device=device,
        )

    def take(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, seq, ...) to (tokens, ...); padding that goes along is blank."""
        flat = self._blanked(x).flatten(0, 1)
        return flat if self.places is None else flat[self.places]

    def pad(self, x: torch.Tensor) -> torch.Tensor:
        """(tokens, ...) to (batch, seq, ...), with zeros at padding."""
        if self.places is None:
            return self._blanked(x.unflatten(0, self.shape))
        padded = x.new_zeros(self.shape[0] * self.shape[1], *x.shape[1:])
        return padded.index_copy(0, self.places, x).unflatten(0, self.shape)

    def ids(self, input_ids: torch.Tensor, vocab_size: int) -> torch.Tensor:
        """The tokens' ids, (tokens,); what stands at padding does not matter.

        Raises:
            RequestError: ids outside the vocabulary.
        """
        ids = self.take(input_ids.to(self.device)).long()
        # Looking at values would break a compiled graph; there the embedding complains.
        if not torch.compiler.is_compiling() and bool(((ids < 0) | (ids >= vocab_size)).any()):
            raise RequestError(f"ids must be from 0 to {vocab_size - 1}", field="input_ids")
        return ids

    def positions(self, position_ids: torch.Tensor | None) -> torch.Tensor:
        """The tokens' positions for rope, (tokens,).

        Args:
            position_ids: int (batch, seq) or (1, seq); None counts columns, padding included.

        Raises:
            RequestError: shapes that do not fit.
        """
        batch, seq = self.shape
        if position_ids is None:
            columns = torch.arange(self.past_len, self.past_len + seq, device=self.device)
            return self.take(columns.expand(self.shape))
        if tuple(position_ids.shape) not in ((1, seq), self.shape):
            raise RequestError(
                f"its shape {tuple(position_ids.shape)} is not {self.shape}, that of the tokens",
                field="position_ids",
            )
        return self.take(position_ids.to(self.device).long().expand(batch, seq))

    def kv(self, cache: DynamicCache | None, keep: bool) -> PaddedKV:
        """What attention takes.

        Args:
            cache: The past.
            keep: Whether keys and values are wanted after the pass.
        """
        key_len = self.past_len + self.shape[1]
        columns = torch.arange(key_len, device=self.device).expand(self.shape[0], key_len)
        return PaddedKV(
            shape=self.shape,
            places=self.places,
            key_positions=(
                columns if self.visible is None else columns.masked_fill(~self.visible, -1)
            ),
            past=() if cache is None else cache.past(),
            keep=keep,
        )

    def _blanked(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, seq, ...) with zeros at padding that goes along."""
        if self.taken is None:
            return x
        return x.masked_fill(~self.taken.view(*self.shape, *[1] * (x.dim() - 2)), 0)


def _check_batch(batch: int, cache: DynamicCache | None) -> None:
    if cache is None or not cache.layers:
        return
    rows = cache.layers[0].keys.shape[0]
    if rows != batch:
        raise RequestError(
            f"holds {rows} rows, the input has {batch}; see batch_repeat_interleave",
            field="past_key_values",
        )


def _computed(
    past: torch.Tensor | None,
    taken: torch.Tensor | None,
    shape: tuple[int, int],
    past_len: int,
    device: torch.device,
) -> torch.Tensor | None:
    if past is None and taken is None:
        return None
    batch, seq = shape
    parts = (
        torch.ones(batch, past_len, dtype=torch.bool, device=device) if past is None else past,
        torch.ones(batch, seq, dtype=torch.bool, device=device) if taken is None else taken,
    )
    return torch.cat([part.to(device) for part in parts], dim=1)


def _visible(
    attention_mask: torch.Tensor | None, shape: tuple[int, int], device: torch.device
) -> torch.Tensor | None:
    if attention_mask is None:
        return None
    if not isinstance(attention_mask, torch.Tensor) or attention_mask.dim() != 2:
        raise RequestError(
            "only masks of shape (batch, past + new) are supported; causality and windows are "
            "added here",
            field="attention_mask",
        )
    if tuple(attention_mask.shape) != shape:
        raise RequestError(
            f"its shape {tuple(attention_mask.shape)} is not {shape}, that of past and new tokens",
            field="attention_mask",
        )
    return attention_mask.to(device) != 0
