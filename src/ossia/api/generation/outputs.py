"""What `generate` returns with return_dict_in_generate=True, under transformers' names."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ossia.api.models.cache import DynamicCache
from ossia.api.models.outputs import ModelOutput

PerToken = tuple[torch.Tensor, ...]
PerTokenAndLayer = tuple[tuple[torch.Tensor, ...], ...]


@dataclass(eq=False, repr=False)
class GenerateDecoderOnlyOutput(ModelOutput):
    """Of greedy decoding, sampling and assisted generation. What was not asked for is None.

    Attributes:
        sequences: int64 (rows, seq): prompts and continuations.
        scores: For each new token float32 (rows, vocab): what it was chosen by.
        logits: For each new token float32 (rows, vocab): the model's own.
        attentions: For each step, for each layer (rows, heads, queries, keys).
        hidden_states: For each step, layers + 1 times (rows, queries, hidden).
        past_key_values: The cache, where one was used.
        router_logits: For each step, for each layer (rows * queries, experts).
    """

    sequences: torch.Tensor | None = None
    scores: PerToken | None = None
    logits: PerToken | None = None
    attentions: PerTokenAndLayer | None = None
    hidden_states: PerTokenAndLayer | None = None
    past_key_values: DynamicCache | None = None
    router_logits: PerTokenAndLayer | None = None


@dataclass(eq=False, repr=False)
class GenerateBeamDecoderOnlyOutput(ModelOutput):
    """Of beam search; what is not said here is as above. Steps have batch * num_beams rows.

    Attributes:
        sequences: int64 (batch * num_return_sequences, seq), the best of each prompt first.
        sequences_scores: float32 (batch * num_return_sequences,): sum of log-probabilities over
            length to the power of `length_penalty`; with `output_scores`.
        scores: For each step float32 (batch * num_beams, vocab): processed log-probabilities.
        beam_indices: int32 (batch * num_return_sequences, new): for each token the row of the
            step's scores that it came from; -1 behind the end.
    """

    sequences: torch.Tensor | None = None
    sequences_scores: torch.Tensor | None = None
    scores: PerToken | None = None
    logits: PerToken | None = None
    beam_indices: torch.Tensor | None = None
    attentions: PerTokenAndLayer | None = None
    hidden_states: PerTokenAndLayer | None = None
    past_key_values: DynamicCache | None = None
    router_logits: PerTokenAndLayer | None = None
