"""convert_model: any model that has a name, written to a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ossia.api.loading import open_tensors
from ossia.api.model_source import ModelSource
from ossia.checkpoint.convert import convert
from ossia.checkpoint.names import Layout
from ossia.checkpoint.writer import write_checkpoint
from ossia.config import WeightFormat
from ossia.types import ProgressCallback


def convert_model(
    source: ModelSource,
    target: Path,
    *,
    layout: Layout | None = None,
    experts: WeightFormat | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> Path:
    """Write a model as a checkpoint folder.

    Args:
        source: Which model; random weights are made as they are written.
        target: The folder to create.
        layout: None keeps the source's; random weights are written in the "hf" layout.
        experts: None keeps the source's; random weights have MXFP4 experts.
        dtype: Of the floats; None keeps the source's.
        overwrite: Replace a checkpoint that is at `target`.
        progress: Told after each tensor.

    Returns:
        The target folder.

    Raises:
        CheckpointError: the source is damaged, or the target is in the way.
        ConfigError: the layout cannot express the model.
    """
    if source.folder is not None:
        return convert(
            source.folder,
            target,
            layout=layout,
            experts=experts,
            dtype=dtype,
            overwrite=overwrite,
            progress=progress,
        )
    assert source.random_config is not None
    config = replace(
        source.random_config, expert_format=experts or source.random_config.expert_format
    )
    with open_tensors(replace(source, random_config=config), dtype) as (_, tensors):
        return write_checkpoint(
            target,
            config,
            tensors,
            layout=layout or "hf",
            overwrite=overwrite,
            progress=progress,
        )
