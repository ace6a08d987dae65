"""KVLayout: how the layers of a model share one pool of pages.

Layers of one type form a group and share page numbers. Both groups draw from one pool: a page is a
stack of slabs, one for each layer of the larger group, and whoever owns the page uses as many slabs
as its group has layers. gpt-oss has as many full as sliding layers, so nothing is wasted, and no
split of the memory between the groups has to be guessed in advance.

A page has the same bytes for whoever owns it. Where sliding layers keep wider numbers than full ones,
it holds so many fewer tokens of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from ossia.config import LayerType, ModelConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class KVLayout:
    """Groups of layers and the size of a page.

    Args:
        layer_types: Type of every layer.
        groups: The types that occur; the order of all per-group tuples in this package.
        windows: For each group the keys that a query may see, itself included; None means all.
        page_sizes: For each group the tokens in a page.
        kv_heads: Key (and value) heads of a layer.
        head_dim: Width of a head.
    """

    layer_types: tuple[LayerType, ...]
    groups: tuple[LayerType, ...]
    windows: tuple[int | None, ...]
    page_sizes: tuple[int, ...]
    kv_heads: int
    head_dim: int

    @classmethod
    def of(cls, config: ModelConfig, page_size: int, width_ratio: int = 1) -> KVLayout:
        """The layout for a model.

        Args:
            config: The model's shape.
            page_size: Tokens in a page of the group that gets most into one; a multiple of
                `width_ratio`.
            width_ratio: Bytes of a sliding layer's number for each byte of a full layer's.
        """
        groups = tuple(sorted(set(config.layer_types)))
        both = len(groups) > 1
        return cls(
            layer_types=config.layer_types,
            groups=groups,
            windows=tuple(
                config.sliding_window if group == "sliding_attention" else None for group in groups
            ),
            page_sizes=tuple(
                page_size // width_ratio if both and group == "sliding_attention" else page_size
                for group in groups
            ),
            kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
        )

    @property
    def page_size(self) -> int:
        """Tokens in a page of the group that gets most into one; the others' sizes divide it."""
        return max(self.page_sizes)

    @property
    def num_slabs(self) -> int:
        """Layers that one page can serve."""
        return max(self.layer_types.count(group) for group in self.groups)

    def slab_of(self, layer_idx: int) -> int:
        """Which slab of its group's pages a layer uses."""
        return self.layer_types[:layer_idx].count(self.layer_types[layer_idx])

    def page_bytes(self, row_bytes: int) -> int:
        """Memory of one page, keys and values of all its slabs.

        Args:
            row_bytes: Of a key of one head, where a page holds `page_size` tokens.
        """
        return 2 * self.num_slabs * self.page_size * self.kv_heads * row_bytes
