"""What a named model consists of, as data for people and programs to be shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from ossia.api.model_source import ModelSource
from ossia.checkpoint.reader import open_checkpoint
from ossia.checkpoint.summary import Summary, summarize
from ossia.machine import Memory, machine_memory


def summary_of(source: ModelSource, others: Iterable[Memory] = ()) -> Summary:
    """What a model consists of and where it fits; of a checkpoint only headers are read.

    Args:
        source: The model.
        others: Memories to fit it into beside this machine's.

    Raises:
        CheckpointError: damaged files.
        ConfigError: a config that is not of gpt-oss, or contradicts itself.
    """
    memories = (*machine_memory(), *others)
    if source.folder is not None:
        with open_checkpoint(source.folder) as checkpoint:
            return summarize(checkpoint, memories)
    assert source.random_config is not None
    return summarize(source.random_config, memories)


def summary_to_dict(summary: Summary) -> dict[str, Any]:
    """A summary as JSON values."""
    return {
        "folder": None if summary.folder is None else str(summary.folder),
        "layout": summary.layout,
        "config": asdict(summary.config),
        "parameters": summary.parameters,
        "active_parameters": summary.active_parameters,
        "bytes": summary.nbytes,
        "bytes_by_kind": {kind.value: size for kind, size in summary.bytes_by_kind.items()},
        "kv_bytes_per_token": summary.kv_bytes_per_token,
        "kv_bytes_window": summary.kv_bytes_window,
        "fits": [
            {
                **asdict(fit.memory),
                "fits": fit.fits,
                "context_tokens": fit.context_tokens,
                "kv_tokens": fit.kv_tokens,
                "short_bytes": fit.short_bytes,
            }
            for fit in summary.fits
        ],
        "tensors": {
            spec.name: {"dtype": spec.dtypes[0], "shape": spec.shape, "bytes": spec.nbytes}
            for spec in summary.tensors
        },
    }
