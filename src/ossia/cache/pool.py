"""KVPool: the tensors behind the pages."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from ossia.cache.layout import KVLayout
from ossia.kernels.fp8 import FP8
from ossia.kernels.int8 import row_width


class KVPool:
    """Keys and values of every page.

    Args:
        layout: Groups and the size of a page.
        num_pages: Pages to make.
        dtypes: Of each group's keys and values, such that its pages have as many bytes as the others'.
            int8 rows hold four bytes more, see `kernels.int8`.
        device: Where they live.

    Attributes:
        k_pages: For each layer (pages, page_size, kv_heads, head_dim), the page size and the dtype
            its group's. Layers that use the same slab share its memory; they never share a page.
        v_pages: Like k_pages.
    """

    def __init__(
        self,
        layout: KVLayout,
        num_pages: int,
        dtypes: Sequence[torch.dtype],
        device: torch.device,
    ) -> None:
        shapes = [
            (2, num_pages, page_size, layout.kv_heads, row_width(layout.head_dim, dtype))
            for page_size, dtype in zip(layout.page_sizes, dtypes, strict=True)
        ]
        widest = max(dtypes, key=lambda dtype: dtype.itemsize)
        # Left uninitialised: on the CPU memory that no page has used yet costs nothing.
        self._slabs = [
            torch.empty(
                (2, num_pages, prod(shapes[dtypes.index(widest)][2:])),
                # Copying is for the older dtypes.
                dtype=torch.uint8 if widest is FP8 else widest,
                device=device,
            )
            for _ in range(layout.num_slabs)
        ]
        pages: list[torch.Tensor] = []
        for idx, layer_type in enumerate(layout.layer_types):
            group = layout.groups.index(layer_type)
            pages.append(self._slabs[layout.slab_of(idx)].view(dtypes[group]).view(shapes[group]))
        self.k_pages = tuple(both[0] for both in pages)
        self.v_pages = tuple(both[1] for both in pages)

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
