"""query_blocks: how a ragged batch's new tokens are dealt to programs."""

from __future__ import annotations

import torch


def query_blocks(query_lens: list[int], context_lens: list[int], size: int) -> torch.Tensor:
    """Cut every sequence's new tokens into blocks, those with the most keys first.

    Args:
        query_lens: New tokens of each sequence, one behind the other in the batch.
        context_lens: Tokens of each sequence, the new ones included.
        size: New tokens of a block at most.

    Returns:
        int32 (blocks, 4): sequence, first row in the batch, rows, position of the first row.
    """
    blocks: list[tuple[int, int, int, int]] = []
    row = 0
    for sequence, (queries, context) in enumerate(zip(query_lens, context_lens, strict=True)):
        for start in range(0, queries, size):
            count = min(size, queries - start)
            blocks.append((sequence, row + start, count, context - queries + start))
        row += queries
    blocks.sort(key=lambda block: -block[3])
    return torch.tensor(blocks, dtype=torch.int32).reshape(-1, 4)
