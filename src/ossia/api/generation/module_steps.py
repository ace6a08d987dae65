"""ModuleSteps: runs the model on its module, step by step, and keeps mask, positions and cache."""

from __future__ import annotations

from typing import Any

import torch

from ossia.api.generation.config import GenerationConfig
from ossia.api.generation.prompt import Prompt
from ossia.api.models.cache import DynamicCache


class ModuleSteps:
    """The model's side of a decoding loop.

    Args:
        model: A GptOssForCausalLM.
        config: Resolved.
        prompt: With as many rows as are decoded.
        cache: What a caller remembers of the prompt, with as many rows; it is extended in place.
    """

    def __init__(
        self,
        model: Any,
        config: GenerationConfig,
        prompt: Prompt,
        cache: DynamicCache | None = None,
    ) -> None:
        self._model = model
        self._prompt = prompt
        self._mask, self._positions = prompt.attention_mask, prompt.position_ids
        # Embeddings cannot be told from ids later on, so they are only computed once.
        keeps = config.use_cache or cache is not None or prompt.inputs_embeds is not None
        self.cache = (DynamicCache() if cache is None else cache) if keeps else None
        self._chunk = config.prefill_chunk_size
        self._wanted = {
            name: True
            for name in ("output_attentions", "output_hidden_states", "output_router_logits")
            if getattr(config, name) and config.return_dict_in_generate
        }

    def prefill(self, input_ids: torch.Tensor, num_logits: int = 1) -> Any:
        """Compute what of the prompt is not remembered.

        Args:
            input_ids: int64 (rows, seq): the prompt, and candidates behind it.
            num_logits: How many last columns need logits.

        Returns:
            The forward pass's output; with chunks, the last one's.
        """
        total = self._mask.shape[1]
        if self.cache is None:
            return self._forward(input_ids, None, total, total, num_logits)
        done = self._prompt.past_len
        embeds = self._prompt.inputs_embeds
        limit = self._chunk or total
        while total - done > limit and total - done - limit >= num_logits:
            # The end of this chunk is nobody's last token, so its logits are computed for nothing.
            self._forward(
                self._cut(input_ids, total, done, done + limit),
                self._cut(embeds, total, done, done + limit),
                done + limit,
                limit,
                1,
            )
            done += limit
        ids, rest = self._cut(input_ids, total, done, total), self._cut(embeds, total, done, total)
        return self._forward(ids, rest, total, total - done, num_logits)

    def step(self, input_ids: torch.Tensor, num_new: int = 1, num_logits: int = 1) -> Any:
        """Compute new tokens.

        Args:
            input_ids: int64 (rows, seq): everything so far.
            num_new: Columns that `extend` has added since the last pass.
            num_logits: How many last columns need logits.
        """
        total = self._mask.shape[1]
        if self.cache is None:
            return self._forward(input_ids, None, total, total, num_logits)
        return self._forward(input_ids[:, -num_new:], None, total, num_new, num_logits)

    def extend(self, num_new: int = 1) -> None:
        """Columns are added behind every row, tokens all."""
        rows = len(self._mask)
        self._mask = torch.cat((self._mask, self._mask.new_ones(rows, num_new)), dim=1)
        behind = torch.arange(1, num_new + 1, device=self._positions.device)
        last = self._positions[:, -1:]
        self._positions = torch.cat((self._positions, last + behind), dim=1)

    def crop(self, num_dropped: int) -> None:
        """The last columns are taken back; what the cache holds of them, too.

        Args:
            num_dropped: How many.
        """
        if num_dropped == 0:
            return
        self._mask = self._mask[:, :-num_dropped]
        self._positions = self._positions[:, :-num_dropped]
        if self.cache is not None:
            self.cache.crop(-num_dropped)

    def reorder(self, rows: torch.Tensor) -> None:
        """Row i becomes what row rows[i] was."""
        self._mask, self._positions = self._mask[rows], self._positions[rows]
        if self.cache is not None:
            self.cache.reorder_cache(rows)

    def _cut(self, x: Any, total: int, start: int, end: int) -> Any:
        """Columns `start` to `end` of something that ends at column `total`."""
        if x is None or x.shape[1] == 0:
            return None
        behind = total - x.shape[1]  # columns that are remembered and not part of x
        return x[:, start - behind : end - behind]

    def _forward(
        self,
        input_ids: torch.Tensor | None,
        embeds: torch.Tensor | None,
        total: int,
        num_new: int,
        num_logits: int,
    ) -> Any:
        return self._model(
            input_ids=input_ids if embeds is None else None,
            inputs_embeds=embeds,
            attention_mask=self._mask[:, :total],
            position_ids=self._positions[:, total - num_new : total],
            past_key_values=self.cache,
            use_cache=self.cache is not None,
            logits_to_keep=num_logits,
            return_dict=True,
            **self._wanted,
        )


def last_logits(output: Any, num: int = 1) -> torch.Tensor:
    """Logits of the last columns as float32 or wider: (rows, vocab), or (rows, num, vocab)."""
    logits = output.logits[:, -num:]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32), copy=True)
    return logits[:, 0] if num == 1 else logits
