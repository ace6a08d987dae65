"""PreTrainedModel: what all model classes can do."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import nn

from ossia.api.loading import load_module
from ossia.api.model_source import find_model
from ossia.api.models.config import GptOssConfig
from ossia.api.placement import Dtype
from ossia.config import ModelConfig


class PreTrainedModel(nn.Module):
    """A model with a config, whose parameters are named as in transformers.

    Attributes:
        config: Shape and settings; changing the shape does not change the model.
    """

    config_class: ClassVar[type[GptOssConfig]] = GptOssConfig
    base_model_prefix: ClassVar[str] = "model"
    config: GptOssConfig

    @property
    def device(self) -> torch.device:
        """Where the first parameter is."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of the first floating-point parameter."""
        return next(param.dtype for param in self.parameters() if param.is_floating_point())

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
    ) -> Self:
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


def as_config(config: GptOssConfig | ModelConfig) -> GptOssConfig:
    """The mutable kind of a config, whichever is given."""
    return GptOssConfig.from_model_config(config) if isinstance(config, ModelConfig) else config
