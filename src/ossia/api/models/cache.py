"""DynamicCache: keys and values of padded rows that grow with every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from ossia.errors import RequestError
from ossia.model.padded_kv import KeysValues


@dataclass(slots=True, eq=False)
class CacheLayer:
    """One layer's keys and values.

    Attributes:
        keys: (batch, kv_heads, seq, head_dim); rope has been applied.
        values: Like keys.
    """

    keys: torch.Tensor
    values: torch.Tensor


class DynamicCache:
    """What a model remembers of the tokens it has seen, row by row.

    A forward pass that is given a cache attends to what is in it and puts its own tokens behind.
    Every layer keeps every token, sliding ones too, so that a cache can always be cropped.

    Args:
        config: Accepted for code that gives it; a cache takes its shape from what is put in.

    Attributes:
        layers: One entry for each layer that has been filled.
    """

    def __init__(self, config: object = None) -> None:
        del config  # layers grow as they are written
        self.layers: list[CacheLayer] = []
        # (batch, seq): columns that hold a token. None: all do.
        self._tokens: torch.Tensor | None = None

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns of a layer, padding included; 0 before the first pass."""
        return self.layers[layer_idx].keys.shape[2] if layer_idx < len(self.layers) else 0

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """-1: nothing limits it."""
        del layer_idx
        return -1

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put keys and values behind those of a layer.

        Args:
            key_states: (batch, kv_heads, new, head_dim).
            value_states: Like key_states.
            layer_idx: At most the number of layers that are there.

        Returns:
            All keys and all values of the layer.
        """
        if layer_idx == len(self.layers):
            self.layers.append(CacheLayer(key_states, value_states))
        else:
            layer = self.layers[layer_idx]
            layer.keys = torch.cat((layer.keys, key_states), dim=2)
            layer.values = torch.cat((layer.values, value_states), dim=2)
        return self.layers[layer_idx].keys, self.layers[layer_idx].values

    def crop(self, max_length: int) -> None:
        """Forget the end.

        Args:
            max_length: Columns to keep; if negative, how many to remove.
        """
        length = self.get_seq_length()
        kept = max(0, length + max_length) if max_length < 0 else min(length, max_length)
        for layer in self.layers:
            layer.keys = layer.keys[:, :, :kept]
            layer.values = layer.values[:, :, :kept]
        if self._tokens is not None:
            self._tokens = self._tokens[:, :kept]

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Take the rows anew, as beam search does: row i becomes what row beam_idx[i] was."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows that are listed, in that order; each may come several times."""
        self._each(lambda x: x.index_select(0, indices.to(x.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row, copies beside each other."""
        self._each(lambda x: x.repeat_interleave(repeats, dim=0))

    def reset(self) -> None:
        """Forget everything."""
        self.layers = []
        self._tokens = None

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return iter([(layer.keys, layer.values) for layer in self.layers])

    def __bool__(self) -> bool:
        return True  # an empty cache is a cache; its length counts layers

    def __deepcopy__(self, memo: dict[int, object]) -> DynamicCache:
        """Tensors with a history can be copied too."""
        del memo
        twin = DynamicCache()
        twin.layers = [
            CacheLayer(layer.keys.clone(), layer.values.clone()) for layer in self.layers
        ]
        twin._tokens = None if self._tokens is None else self._tokens.clone()
        return twin

    def past(self) -> list[KeysValues]:
        """Keys and values as the model takes them: (batch, seq, kv_heads, head_dim)."""
        return [(layer.keys.transpose(1, 2), layer.values.transpose(1, 2)) for layer in self.layers]

    def past_tokens(self) -> torch.Tensor | None:
        """Bool (batch, seq): columns that hold tokens; None if all do."""
        return self._tokens

    def replace(self, present: dict[int, KeysValues], tokens: torch.Tensor | None) -> None:
        """Take over what a pass has left.

        Args:
            present: For each layer all keys and values, (batch, seq, kv_heads, head_dim).
            tokens: bool (batch, seq): columns that hold tokens; None if all do.
        """
        self.layers = [
            CacheLayer(present[idx][0].transpose(1, 2), present[idx][1].transpose(1, 2))
            for idx in range(len(present))
        ]
        self._tokens = tokens

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for layer in self.layers:
            layer.keys, layer.values = change(layer.keys), change(layer.values)
        if self._tokens is not None:
            self._tokens = change(self._tokens)


def checked_cache(value: object) -> DynamicCache | None:
    """What was given as `past_key_values`, if it is a cache.

    Raises:
        RequestError: it is something else.
    """
    if value is None or isinstance(value, DynamicCache):
        return value
    raise RequestError(
        f"{type(value).__name__} is no cache; give an ossia.DynamicCache, which a pass returns",
        field="past_key_values",
    )
