"""Greedy decoding with the training network, many prompts at once, for measurements during training.

Without a key-value cache: prompts are short, and what is measured is exactly what is trained.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from demo.network import Network, Rows, hidden_states, rope_of, visibility, vocabulary_rows
from demo.own_tokens import own_tokens
from ossia.demo.rows import NUM_FEATURES, feature_pairs
from ossia.tokenizer.special import ACTION_STOP_TOKENS, VOCAB_SIZE

_AT_ONCE = 384  # prompts decoded together


def all_rows(device: torch.device, dtype: torch.dtype) -> Rows:
    """The features and own vectors of the whole vocabulary."""
    tokens, features = (torch.from_numpy(part).to(device) for part in feature_pairs())
    table = torch.zeros(VOCAB_SIZE, NUM_FEATURES, device=device, dtype=dtype)
    table[tokens, features] = 1
    own = torch.full((VOCAB_SIZE,), len(own_tokens()), device=device)
    own[torch.tensor(own_tokens(), device=device)] = torch.arange(len(own_tokens()), device=device)
    return Rows(table, own)


def greedy(
    network: Network, rows: Rows, prompts: Sequence[Sequence[int]], max_new: int, dtype: torch.dtype
) -> list[list[int]]:
    """The most likely continuation of each prompt, up to and with the token that ends the turn.

    Args:
        network: What to decode with; its weights are rounded as they will be shipped.
        rows: The whole vocabulary, from `all_rows`.
        prompts: Token ids.
        max_new: Tokens at most.
        dtype: What to compute in.
    """
    order = sorted(range(len(prompts)), key=lambda idx: len(prompts[idx]))
    outputs: dict[int, list[int]] = {}
    for start in range(0, len(order), _AT_ONCE):
        chosen = order[start : start + _AT_ONCE]
        decoded = _greedy(network, rows, [prompts[idx] for idx in chosen], max_new, dtype)
        outputs |= dict(zip(chosen, decoded, strict=True))
    return [outputs[idx] for idx in range(len(prompts))]


@torch.no_grad()
def _greedy(
    network: Network, rows: Rows, prompts: Sequence[Sequence[int]], max_new: int, dtype: torch.dtype
) -> list[list[int]]:
    device = rows.own.device
    weights = {name: value.detach() for name, value in network.weights(rounded=True).items()}
    embed, head = (vocabulary_rows(weights, which, rows).to(dtype) for which in ("embed", "head"))
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    width = int(lengths.max()) + max_new
    ids = torch.zeros(len(prompts), width, dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt, device=device)
    stops = torch.tensor(sorted(ACTION_STOP_TOKENS), device=device)
    running = torch.arange(len(prompts), device=device)
    ends = lengths.clone()
    for _ in range(max_new):
        longest = int(ends[running].max())
        hidden = _last_hidden(network, weights, embed, ids[running, :longest], ends[running], dtype)
        chosen = (hidden @ head.T).argmax(-1)
        ids[running, ends[running]] = chosen
        ends[running] += 1
        running = running[~torch.isin(chosen, stops)]
        if not len(running):
            break
    return [ids[row, lengths[row] : ends[row]].tolist() for row in range(len(prompts))]


def _last_hidden(
    network: Network,
    weights: dict[str, torch.Tensor],
    embed: torch.Tensor,
    ids: torch.Tensor,
    ends: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Hidden states at each row's last token: (rows, hidden)."""
    positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape)
    segments = torch.zeros_like(ids)
    masks = [visibility(segments[:1], window) for window in (network.config.sliding_window, None)]
    rope = rope_of(network.config, positions[:1])
    states, _ = hidden_states(network.config, weights, embed[ids].float(), rope, masks, dtype)
    return states[torch.arange(len(ids), device=ids.device), ends - 1]
