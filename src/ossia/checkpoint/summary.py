"""Summary: what a model consists of, how large it is, and where it fits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from ossia.checkpoint.names import Layout
from ossia.checkpoint.reader import Checkpoint
from ossia.checkpoint.spec import TensorKind, TensorSpec, tensor_specs
from ossia.config import ModelConfig
from ossia.machine import Memory

# Kept free for activations and the runtime itself: a part of the memory, but at least so much.
_RESERVED_PART = 0.05
_RESERVED_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits into a memory.

    Args:
        memory: The memory.
        fits: Weights and a first sequence have room.
        context_tokens: Longest single sequence that has room beside the weights, at most what the
            model allows; 0 if the weights do not fit.
        kv_tokens: Tokens of all sequences together whose keys and values have room, as far as a
            sequence's length decides; each further one takes `Summary.kv_bytes_window` besides.
            Where all layers slide, that of one sequence.
        short_bytes: What is missing for the weights alone; 0 if they fit.
    """

    memory: Memory
    fits: bool
    context_tokens: int
    kv_tokens: int
    short_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What `ossia inspect` reports.

    Args:
        config: The model's shape.
        folder: Where it lies; None for a model that has no files.
        layout: Of its files; None likewise.
        tensors: Every canonical tensor, with its one dtype.
        nbytes: Bytes of all tensors.
        bytes_by_kind: The same by what they are for.
        parameters: Weights, those of all experts counted.
        active_parameters: Weights that one token is multiplied by: the experts it goes to, and no
            embedding, of which it picks a row.
        kv_bytes_per_token: Cache that a token needs for as long as its sequence lives, in 16-bit
            floats (full-attention layers).
        kv_bytes_window: Cache that a sequence needs beyond that, once it is longer than the window
            (sliding layers).
        fits: For each memory asked about.
    """

    config: ModelConfig
    folder: Path | None
    layout: Layout | None
    tensors: tuple[TensorSpec, ...]
    nbytes: int
    bytes_by_kind: dict[TensorKind, int]
    parameters: int
    active_parameters: int
    kv_bytes_per_token: int
    kv_bytes_window: int
    fits: tuple[Fit, ...]


def summarize(model: Checkpoint | ModelConfig, memories: Iterable[Memory]) -> Summary:
    """Count a model's tensors, bytes and parameters, and see where it fits.

    Args:
        model: An open checkpoint, or a shape (whose floats are then taken to be bfloat16).
        memories: Where it should fit.
    """
    checkpoint = model if isinstance(model, Checkpoint) else None
    config = model.config if isinstance(model, Checkpoint) else model
    tensors = _tensors(checkpoint, config)
    by_kind = dict.fromkeys(TensorKind, 0)
    for spec in tensors:
        by_kind[spec.kind] += spec.nbytes
    # Keys and values, two bytes each.
    kv_bytes_per_layer = 2 * config.num_key_value_heads * config.head_dim * 2
    num_full = config.layer_types.count("full_attention")
    num_sliding = config.layer_types.count("sliding_attention")
    summary = Summary(
        config=config,
        folder=checkpoint.folder if checkpoint else None,
        layout=checkpoint.layout if checkpoint else None,
        tensors=tensors,
        nbytes=sum(by_kind.values()),
        bytes_by_kind=by_kind,
        parameters=sum(spec.parameters for spec in tensors),
        active_parameters=sum(_active(spec, config) for spec in tensors),
        kv_bytes_per_token=kv_bytes_per_layer * num_full,
        kv_bytes_window=kv_bytes_per_layer * num_sliding * config.sliding_window,
        fits=(),
    )
    return replace(summary, fits=tuple(fit(summary, memory) for memory in memories))


def fit(summary: Summary, memory: Memory) -> Fit:
    """How much of a model a memory has room for."""
    reserved = max(int(_RESERVED_PART * memory.total_bytes), _RESERVED_BYTES)
    room = memory.free_bytes - reserved - summary.nbytes
    for_tokens = room - summary.kv_bytes_window
    if for_tokens < summary.kv_bytes_per_token:
        return Fit(memory, fits=False, context_tokens=0, kv_tokens=0, short_bytes=max(-room, 0))
    most = tokens = summary.config.max_position_embeddings
    if summary.kv_bytes_per_token:
        tokens = for_tokens // summary.kv_bytes_per_token
    return Fit(memory, fits=True, context_tokens=min(most, tokens), kv_tokens=tokens, short_bytes=0)


def _tensors(checkpoint: Checkpoint | None, config: ModelConfig) -> tuple[TensorSpec, ...]:
    if checkpoint is not None:
        return tuple(checkpoint.spec(name) for name in checkpoint.names)
    specs = tensor_specs(config).values()
    return tuple(replace(spec, dtypes=spec.dtypes[:1]) for spec in specs)


def _active(spec: TensorSpec, config: ModelConfig) -> int:
    if spec.kind is TensorKind.EMBEDDING:
        return 0
    if spec.kind is TensorKind.EXPERTS:
        return spec.parameters // config.num_experts * config.experts_per_token
    return spec.parameters
