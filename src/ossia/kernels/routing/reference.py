"""Top-k routing with plain torch operations."""

from __future__ import annotations

import torch


def route(router_logits: torch.Tensor, top_k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pick `top_k` experts a token and weigh them.

    The softmax runs over the chosen logits only (gpt-oss model card, section 2.2).

    Args:
        router_logits: (tokens, experts).
        top_k: Experts a token.

    Returns:
        Weights (tokens, top_k) of the logits' dtype, best first, summing to 1, and expert indices
        int64 (tokens, top_k).
    """
    values, expert_ids = torch.topk(router_logits, top_k, dim=-1, sorted=True)
    wide = values.to(torch.promote_types(values.dtype, torch.float32))
    return wide.softmax(dim=-1).to(router_logits.dtype), expert_ids
