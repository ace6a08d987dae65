"""KVPool: the tensors behind the pages."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ossia.cache.layout import KVLayout
from ossia.kernels.int8 import row_width


class KVPool:
    """Keys and values of every page.

    Args:
        layout: Groups and the size of a page.
        num_pages: Pages to make.
        dtype: Of stored keys and values; int8 rows hold four bytes more, see `kernels.int8`.
        device: Where they live.

    Attributes:
        k_pages: For each layer (pages, page_size, kv_heads, head_dim). Layers that use the same
            slab share one tensor; they never share a page.
        v_pages: Like k_pages.
    """

    def __init__(
        self, layout: KVLayout, num_pages: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        width = row_width(layout.head_dim, dtype)
        shape = (2, num_pages, layout.page_size, layout.kv_heads, width)
        # Left uninitialised: on the CPU memory that no page has used yet costs nothing.
        self._slabs = [
            torch.empty(shape, dtype=dtype, device=device) for _ in range(layout.num_slabs)
        ]
        slabs = [self._slabs[layout.slab_of(idx)] for idx in range(len(layout.layer_types))]
        self.k_pages = tuple(slab[0] for slab in slabs)
        self.v_pages = tuple(slab[1] for slab in slabs)

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Copy pages, all sources read before any target is written.

        Args:
            pairs: (source, target) page numbers, targets all different.
        """
        if not pairs:
            return
        sources, targets = torch.tensor(pairs, device=self._slabs[0].device).T
        for slab in self._slabs:
            slab[:, targets] = slab[:, sources]
