"""convert: one checkpoint to another layout, expert format or float dtype, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from ossia.checkpoint.folder import SIDE_FILES, find_side_file
from ossia.checkpoint.head import LANGUAGE_MODEL
from ossia.checkpoint.names import Layout
from ossia.checkpoint.reader import Checkpoint, open_checkpoint
from ossia.checkpoint.spec import tensor_specs
from ossia.checkpoint.writer import MAX_SHARD_BYTES, write_checkpoint
from ossia.config import ModelConfig, WeightFormat
from ossia.errors import CheckpointError
from ossia.kernels.mxfp4 import BLOCK_SIZE, pack, unpack
from ossia.types import ProgressCallback


def convert(
    source: Path | str,
    target: Path | str,
    *,
    layout: Layout | None = None,
    experts: WeightFormat | None = None,
    dtype: torch.dtype | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    overwrite: bool = False,
    progress: ProgressCallback | None = None,
) -> Path:
    """Write a checkpoint anew; what is not asked to change is copied byte for byte.

    Tokenizer, chat template and generation settings are copied along.

    Args:
        source: A checkpoint folder of either layout.
        target: The folder to create.
        layout: "hf" or "original"; None keeps it.
        experts: "dense" expands MXFP4 experts, "mxfp4" packs dense ones (exact for values that
            once were MXFP4, else to nearest); None keeps them.
        dtype: Of the floats; None keeps each tensor's own, and expands experts to bfloat16.
        max_shard_bytes: Size at which files are split.
        overwrite: Replace a checkpoint at `target`, which may be the source itself.
        progress: Called with ("writing", tensors written, tensors in all).

    Returns:
        The target folder.

    Raises:
        CheckpointError: the source is broken, or a value does not fit the new format.
        ConfigError: the target layout or format cannot express the model.
    """
    with open_checkpoint(source) as checkpoint:
        if checkpoint.head != LANGUAGE_MODEL:
            raise CheckpointError(
                f"is a {checkpoint.head.architecture}; only language models are converted",
                file=checkpoint.folder,
            )
        config = checkpoint.config
        if experts is not None and experts != config.expert_format:
            config = replace(config, expert_format=experts)
        side_files = (find_side_file(checkpoint.folder, name) for name in SIDE_FILES)
        return write_checkpoint(
            target,
            config,
            converted_tensors(checkpoint, config, dtype),
            layout=layout or checkpoint.layout,
            max_shard_bytes=max_shard_bytes,
            side_files=[path for path in side_files if path is not None],
            overwrite=overwrite,
            progress=progress,
        )


def converted_tensors(
    checkpoint: Checkpoint, config: ModelConfig, dtype: torch.dtype | None = None
) -> Iterator[tuple[str, torch.Tensor]]:
    """A checkpoint's tensors in the expert format of another config and, if given, one dtype.

    Args:
        checkpoint: Where they come from.
        config: The checkpoint's own, but for `expert_format`.
        dtype: Of the floats; see `convert`.

    Yields:
        Canonical name and tensor, in the order of use; unchanged ones are views on the file.

    Raises:
        CheckpointError: a value does not fit the new format.
    """
    for name in tensor_specs(config, checkpoint.head):
        if name in checkpoint.names:
            tensor = checkpoint.get(name)
            is_packed = tensor.dtype == torch.uint8
            yield name, tensor if is_packed or dtype is None else _cast(name, tensor, dtype)
        elif name.endswith("_blocks"):
            stem = name.removesuffix("_blocks")
            packed = quantize_experts(checkpoint.get(stem), stem)
            yield from zip((name, f"{stem}_scales"), packed, strict=True)
        elif not name.endswith("_scales"):
            blocks, scales = (checkpoint.get(f"{name}_{part}") for part in ("blocks", "scales"))
            yield name, _cast(name, dequantize_experts(blocks, scales), dtype or torch.bfloat16)


def dequantize_experts(
    blocks: torch.Tensor, scales: torch.Tensor, dtype: torch.dtype = torch.bfloat16
) -> torch.Tensor:
    """Packed expert rows to the dense tensor, transposed; one expert at a time.

    Args:
        blocks: uint8 (experts, out, in / 32, 16).
        scales: uint8 (experts, out, in / 32).
        dtype: Of the result; bfloat16 and float32 are exact.

    Returns:
        (experts, in, out).
    """
    experts, rows, groups = scales.shape
    shape = (experts, groups * BLOCK_SIZE, rows)
    dense = torch.empty(shape, dtype=dtype, device=blocks.device)
    for idx in range(experts):
        dense[idx] = unpack(blocks[idx], scales[idx], dtype).mT
    return dense


def quantize_experts(dense: torch.Tensor, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The reverse: exact for what `dequantize_experts` gave, else rounded to nearest.

    Args:
        dense: (experts, in, out), `in` a multiple of 32.
        name: Canonical name, for the error.

    Returns:
        blocks uint8 (experts, out, in / 32, 16) and scales uint8 (experts, out, in / 32).

    Raises:
        CheckpointError: a value is not finite.
    """
    experts, columns, rows = dense.shape
    shape = (experts, rows, columns // BLOCK_SIZE)
    scales = torch.empty(shape, dtype=torch.uint8, device=dense.device)
    blocks = scales.new_empty((*shape, BLOCK_SIZE // 2))
    for idx in range(experts):
        try:
            blocks[idx], scales[idx] = pack(dense[idx].mT.contiguous())
        except ValueError as error:
            raise CheckpointError(f"expert {idx}: {error}", tensor=name) from error
    return blocks, scales


def _cast(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    result = tensor.to(dtype)
    if dtype == torch.float16 and not torch.isfinite(result).all():
        raise CheckpointError("has values that float16 cannot hold; use bfloat16", tensor=name)
    return result
