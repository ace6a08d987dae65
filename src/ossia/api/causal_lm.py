"""GptOssForCausalLM: the model as a module that takes padded batches, as in transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.api.padding import PaddedRows
from ossia.api.placement import Dtype
from ossia.config import ModelConfig
from ossia.model.transformer import GptOssModel


@dataclass(frozen=True, slots=True, eq=False)
class CausalLMOutput(Mapping[str, torch.Tensor]):
    """What a forward pass gives, by attribute or by key.

    Attributes:
        logits: (batch, seq, vocab) of the model's dtype; zeros where the input is padding.
    """

    logits: torch.Tensor

    def __getitem__(self, key: str) -> torch.Tensor:
        if key != "logits":
            raise KeyError(key)
        return self.logits

    def __iter__(self) -> Iterator[str]:
        return iter(("logits",))

    def __len__(self) -> int:
        return 1


class GptOssForCausalLM(nn.Module):
    """gpt-oss with its language-model head; parameters are named as in transformers.

    Args:
        config: Shape of the model; parameters are initialised. `from_pretrained` loads them.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = GptOssModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        dtype: Dtype | None = "auto",
        device: torch.device | str = "cpu",
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        token: str | None = None,
    ) -> GptOssForCausalLM:
        """Load a checkpoint.

        On the CPU weights stay views on the files, unless another dtype is asked for. MXFP4
        experts stay packed in any case.

        Args:
            name: A folder of either layout, a hub id, `demo`, or `random:20b|120b|tiny`.
            dtype: What floating-point weights become: a torch dtype or its name; "auto" or None
                keeps the checkpoint's.
            device: "cpu", "cuda", "cuda:1" or "auto".
            revision: Branch, tag or commit of a hub id.
            cache_dir: Where hub files are kept.
            local_files_only: Never download.
            token: Access token of the hub.

        Raises:
            ModelNotFoundError: nothing has this name.
            CheckpointError: the files are damaged or not what config.json promises.
            ConfigError: config.json is not of gpt-oss, or contradicts itself.
            RequestError: an unknown dtype or an absent device.
        """
        source = find_model(
            str(name),
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            download=not local_files_only,
        )
        return load_module(cls, source, dtype=dtype, device=device)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> CausalLMOutput:
        """Next-token logits of every position; differentiable.

        Args:
            input_ids: int64 (batch, seq).
            attention_mask: (batch, seq), 1 for tokens and 0 for padding, which may be anywhere.
            position_ids: (batch, seq), rising along each row; by default 0, 1, 2, ... with
                padding counted, as in transformers. Sliding windows count these positions.

        Raises:
            RequestError: shapes that do not fit, ids outside the vocabulary, or positions that do
                not rise.
        """
        rows = PaddedRows.of(input_ids, attention_mask, position_ids, self.config.vocab_size)
        if not rows.seq_lens:
            empty = (*input_ids.shape, self.config.vocab_size)
            return CausalLMOutput(logits=self.lm_head.weight.new_zeros(empty))
        logits = self.lm_head(self.model(rows.batch()))  # (tokens, vocab)
        return CausalLMOutput(logits=rows.pad(logits))
