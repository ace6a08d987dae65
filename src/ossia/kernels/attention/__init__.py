"""Attention with sinks, a causal mask and an optional sliding window.

A sink is a learned logit per head that joins the softmax as a column without a value (gpt-oss
model card, section 2.2; Xiao et al. 2023, arXiv:2309.17453, for the idea).
"""

from ossia.kernels.attention.choice import attend_paged, blocks_for, queries_of_a_block
from ossia.kernels.attention.reference import attend, attend_ragged, attend_with_weights

__all__ = [
    "attend",
    "attend_paged",
    "attend_ragged",
    "attend_with_weights",
    "blocks_for",
    "queries_of_a_block",
]
