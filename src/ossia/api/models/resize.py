"""resized_rows: an embedding or unembedding with more or fewer rows."""

from __future__ import annotations

import torch

from ossia.errors import RequestError


def new_vocab_size(old: int, new_num_tokens: int | None, pad_to_multiple_of: int | None) -> int:
    """How many rows are wanted.

    Args:
        old: Rows that there are.
        new_num_tokens: Rows that are needed; None keeps the number.
        pad_to_multiple_of: Round up to a multiple of this.

    Raises:
        RequestError: no positive integers.
    """
    for name, value in (
        ("new_num_tokens", new_num_tokens),
        ("pad_to_multiple_of", pad_to_multiple_of),
    ):
        if value is not None and (type(value) is not int or value < 1):
            raise RequestError(f"{value!r} is no positive integer", field=name)
    wanted = old if new_num_tokens is None else new_num_tokens
    unit = pad_to_multiple_of or 1
    return -(-wanted // unit) * unit


def resized_rows(rows: torch.Tensor, count: int, std: float | None) -> torch.Tensor:
    """The first rows of a matrix, and new ones behind them.

    Args:
        rows: (old, width).
        count: Rows of the result.
        std: New rows are N(0, std); None makes each the mean of the old ones, which leaves the
            model's other probabilities nearly as they were (Hewitt 2021, "Initializing New Word
            Embeddings for Pretrained Language Models").

    Returns:
        (count, width), a copy.
    """
    kept = rows[:count].detach().clone()
    missing = count - len(kept)
    if missing <= 0:
        return kept
    if std is None:
        wide = rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
        new = wide.mean(dim=0, keepdim=True).to(rows.dtype).expand(missing, -1)
    else:
        new = torch.empty(missing, rows.shape[1], dtype=rows.dtype, device=rows.device)
        new.normal_(0.0, std)
    return torch.cat((kept, new))
