"""Heads: what is read off the decoder's hidden states."""

from __future__ import annotations

import torch
from torch import nn

from ossia.config import ModelConfig
from ossia.model.batch import ForwardBatch
from ossia.model.layers import Linear
from ossia.model.transformer import Decoder


class CausalLM(nn.Module):
    """The decoder and its unembedding: a ForwardBatch to next-token logits.

    Args:
        config: Shape of the model; parameters are initialised, not loaded.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.lm_head = Linear(config.hidden_size, config.vocab_size, bias=False)

    @classmethod
    def sharing(cls, config: ModelConfig, model: Decoder, lm_head: nn.Linear) -> CausalLM:
        """A model made of modules that exist already and go on belonging to somebody else.

        Args:
            config: Their shape.
            model: The decoder.
            lm_head: The unembedding.
        """
        shared = cls.__new__(cls)
        nn.Module.__init__(shared)
        shared.config, shared.model, shared.lm_head = config, model, lm_head
        return shared.train(model.training)

    def forward(self, batch: ForwardBatch) -> torch.Tensor:
        """Logits of the rows that the batch asks for.

        Returns:
            (rows, vocab) of the model's dtype.
        """
        return self.unembed(self.model.run(batch), batch)

    def unembed(self, hidden: torch.Tensor, batch: ForwardBatch) -> torch.Tensor:
        """Logits, as `forward` gives them, of what the decoder has made of a batch.

        Args:
            hidden: (tokens, hidden) after the final norm.
            batch: Whose they are.
        """
        if batch.logits_rows is not None:
            hidden = hidden[batch.logits_rows]
        return self.lm_head(hidden)
