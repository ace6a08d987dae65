"""load_weights: a model class with the weights of a checkpoint, or random ones, placed and cast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import nn

from ossia.api.loading import unmaterialised
from ossia.api.model_source import ModelSource
from ossia.api.models.config import GptOssConfig
from ossia.api.models.device_map import Placement, asked_placement
from ossia.api.models.load_options import LoadOptions
from ossia.api.models.quantization import expert_format
from ossia.api.room import check_bytes
from ossia.checkpoint.convert import converted_tensors
from ossia.checkpoint.random_weights import random_tensors
from ossia.checkpoint.reader import Checkpoint, open_checkpoint
from ossia.config import ModelConfig
from ossia.errors import CheckpointError
from ossia.log import logger

_log = logger(__name__)
_HEADS = ("lm_head.", "score.")

Model = TypeVar("Model", bound=nn.Module)


@dataclass(slots=True)
class LoadingInfo:
    """What became of the tensors, in transformers' words; all empty for a perfect match.

    Attributes:
        missing_keys: Parameters that the checkpoint lacks and that were initialised: a new head.
        unexpected_keys: Tensors that the class has no use for: another head.
        mismatched_keys: Tensors of another shape, which `ignore_mismatched_sizes` let pass.
        error_msgs: Always empty; errors are raised.
    """

    missing_keys: set[str] = field(default_factory=set[str])
    unexpected_keys: set[str] = field(default_factory=set[str])
    mismatched_keys: set[tuple[Any, ...]] = field(default_factory=set[tuple[Any, ...]])
    error_msgs: list[str] = field(default_factory=list[str])

    def to_dict(self) -> dict[str, Any]:
        """As `output_loading_info` gives it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def load_weights(
    build: type[Model], source: ModelSource, options: LoadOptions
) -> tuple[Model, LoadingInfo, Placement]:
    """Build a model and give it weights.

    Args:
        build: A model class, called with a GptOssConfig.
        source: Which model.
        options: How.

    Returns:
        The model in evaluation mode, what became of the tensors, and where the weights are.

    Raises:
        CheckpointError: damaged files, or tensors that the model lacks or does not know.
        ConfigError: a config that is not of gpt-oss, or contradicts itself.
        RequestError: a device that is not there.
        CapacityError: what has to be copied exceeds a device's free memory.
    """
    with _opened(source, options) as checkpoint:
        config, stored = _settled_config(source, checkpoint, options)
        config.architectures = [build.__name__]
        with unmaterialised():
            model = build(config)
        dtype = config.dtype
        assert dtype is not None
        names = canonical_names(model)
        sizes = {names[name]: _nbytes(param, dtype) for name, param in model.named_parameters()}
        placement = asked_placement(options.device_map, options.device, sizes, options.max_memory)
        copies = checkpoint is None or options.dtype is not None or options.quantization is not None
        _check_room(source.name, sizes, placement, copies)
        tensors = _tensors(checkpoint, stored, dtype, placement.device)
        state, info = _matched(model, names, tensors, options, dtype, placement)
    _add_new_head(model, names, state, info, placement, config)
    model.load_state_dict(state, strict=True, assign=True)
    nbytes = sum(tensor.nbytes for tensor in state.values())
    _log.info("loaded %s: %d tensors, %d bytes, to %s", source.name, len(state), nbytes, placement)
    return model.eval(), info, placement


def canonical_names(model: nn.Module) -> dict[str, str]:
    """What checkpoints call each parameter; a decoder without a head leaves "model." out."""
    prefix = "" if hasattr(model, "model") else "model."
    return {name: f"{prefix}{name}" for name, _ in model.named_parameters()}


def init_linear(
    shape: torch.Size, std: float, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """A new head's parameter: N(0, std), and zeros for a bias."""
    new = torch.zeros(shape, dtype=dtype, device=device)
    return new.normal_(0.0, std) if len(shape) > 1 else new


@contextmanager
def _opened(source: ModelSource, options: LoadOptions) -> Iterator[Checkpoint | None]:
    if source.folder is None:
        yield None
        return
    with open_checkpoint(source.folder, options.rename) as checkpoint:
        yield checkpoint


def _settled_config(
    source: ModelSource, checkpoint: Checkpoint | None, options: LoadOptions
) -> tuple[GptOssConfig, ModelConfig]:
    """The model's config, and the shape of the stored tensors in the format that is wanted."""
    stored = source.random_config if checkpoint is None else checkpoint.config
    assert stored is not None
    raw = stored.to_hf() if checkpoint is None else checkpoint.raw_config
    config = options.config or GptOssConfig.from_dict(raw, **options.overrides)
    wanted = expert_format(options.quantization, stored.expert_format)
    stored = replace(stored, expert_format=wanted)
    if wanted == "dense":
        config.quantization_config = None
    elif config.quantization_config is None or options.quantization is not None:
        config.quantization_config = stored.to_hf()["quantization_config"]
    config.dtype = options.dtype or _stored_dtype(checkpoint)
    config._name_or_path = source.name
    config._attn_implementation = options.attention
    return config, stored


def _stored_dtype(checkpoint: Checkpoint | None) -> torch.dtype:
    return torch.bfloat16 if checkpoint is None else checkpoint.get(checkpoint.names[0]).dtype


def _nbytes(param: torch.Tensor, dtype: torch.dtype) -> int:
    return param.numel() * (dtype.itemsize if param.is_floating_point() else param.itemsize)


def _check_room(name: str, sizes: dict[str, int], placement: Placement, copies: bool) -> None:
    needed: dict[torch.device, int] = {}
    for parameter, nbytes in sizes.items():
        device = placement.of(parameter)
        needed[device] = needed.get(device, 0) + nbytes
    for device, nbytes in needed.items():
        if copies or device.type != "cpu":
            check_bytes(name, nbytes, device)


def _tensors(
    checkpoint: Checkpoint | None, stored: ModelConfig, dtype: torch.dtype, device: torch.device
) -> Iterator[tuple[str, torch.Tensor]]:
    if checkpoint is None:
        return random_tensors(stored, dtype=dtype, device=device)
    expands = stored.expert_format != checkpoint.config.expert_format
    # Where nothing is expanded, casting comes after placing, which is faster on a GPU.
    return converted_tensors(checkpoint, stored, dtype if expands else None)


def _matched(
    model: nn.Module,
    names: dict[str, str],
    tensors: Iterator[tuple[str, torch.Tensor]],
    options: LoadOptions,
    dtype: torch.dtype,
    placement: Placement,
) -> tuple[dict[str, torch.Tensor], LoadingInfo]:
    """Every tensor under the parameter that it is for."""
    wanted = {names[name]: (name, param) for name, param in model.named_parameters()}
    state: dict[str, torch.Tensor] = {}
    info = LoadingInfo()
    for canonical, tensor in tensors:
        if canonical not in wanted:
            if not canonical.startswith(_HEADS):
                raise CheckpointError(
                    "is no tensor of this model; the given config is of another shape",
                    tensor=canonical,
                )
            info.unexpected_keys.add(canonical)
            continue
        name, param = wanted[canonical]
        if tensor.shape != param.shape:
            if not (options.ignore_mismatched_sizes and canonical.startswith(_HEADS)):
                raise _misshapen(canonical, tensor, param)
            info.mismatched_keys.add((name, tuple(tensor.shape), tuple(param.shape)))
            continue
        # None keeps what the checkpoint has, tensor by tensor.
        cast = options.dtype if tensor.is_floating_point() else None
        state[name] = tensor.to(device=placement.of(canonical), dtype=cast)
    return state, info


def _misshapen(name: str, tensor: torch.Tensor, param: torch.Tensor) -> CheckpointError:
    hint = "the given config is of another shape"
    if name.startswith("score."):
        hint = "num_labels differs; ignore_mismatched_sizes=True makes a new head"
    return CheckpointError(
        f"has shape {list(tensor.shape)}, the model's has {list(param.shape)}; {hint}", tensor=name
    )


def _add_new_head(
    model: nn.Module,
    names: dict[str, str],
    state: dict[str, torch.Tensor],
    info: LoadingInfo,
    placement: Placement,
    config: GptOssConfig,
) -> None:
    """Initialise a classifier that the checkpoint has not; anything else missing is an error."""
    mismatched = {key[0] for key in info.mismatched_keys}
    missing = {name: param for name, param in model.named_parameters() if name not in state}
    for name in missing:
        if not names[name].startswith("score."):
            raise CheckpointError(
                f"is missing; this checkpoint is not of {type(model).__name__}, or its config "
                "has another shape",
                tensor=names[name],
            )
    if not missing:
        return
    info.missing_keys |= missing.keys() - mismatched
    assert config.dtype is not None
    for name, param in missing.items():
        state[name] = init_linear(
            param.shape, config.initializer_range, config.dtype, placement.device
        )
    _log.warning("initialised %s: a new head, which has to be trained", ", ".join(missing))
