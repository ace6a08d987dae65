"""query_blocks: how a ragged batch's new tokens are dealt to programs."""

from __future__ import annotations

import numpy as np
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
    queries, contexts = np.array(query_lens, np.int64), np.array(context_lens, np.int64)
    counts = -(-queries // size)
    sequence = np.repeat(np.arange(len(queries)), counts)  # (blocks,)
    begin = size * (np.arange(len(sequence)) - (counts.cumsum() - counts)[sequence])
    row = (queries.cumsum() - queries)[sequence] + begin
    count = np.minimum(size, queries[sequence] - begin)
    position = (contexts - queries)[sequence] + begin
    blocks = np.stack((sequence, row, count, position), axis=1).astype(np.int32)
    return torch.from_numpy(blocks[np.argsort(-position, kind="stable")])
