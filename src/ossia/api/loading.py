"""Loading: checkpoint tensors become a module's parameters, without copying them.

The module is built without memory (on torch's `meta` device) and then given the tensors. On the
CPU those are views on the files, so the operating system reads a weight when it is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ossia.api.model_source import ModelSource
from ossia.api.placement import Dtype, float_dtype, torch_device
from ossia.api.room import check_room
from ossia.checkpoint.head import LANGUAGE_MODEL
from ossia.checkpoint.random_weights import random_tensors
from ossia.checkpoint.reader import open_checkpoint
from ossia.config import ModelConfig
from ossia.errors import CheckpointError
from ossia.log import logger
from ossia.types import ProgressCallback

_log = logger(__name__)
Module = TypeVar("Module", bound=nn.Module)
NamedTensors = Iterator[tuple[str, torch.Tensor]]


def load_module(
    build: Callable[[ModelConfig], Module],
    source: ModelSource,
    *,
    dtype: Dtype | None = "auto",
    device: torch.device | str = "cpu",
    progress: ProgressCallback | None = None,
) -> Module:
    """Build a module and give it a model's weights.

    Args:
        build: Makes the module from a config; its parameters must have canonical names.
        source: Which model.
        dtype: What floating-point weights become; "auto" or None keeps the checkpoint's. Packed
            experts keep their bytes.
        device: Where the weights go.
        progress: Told after each tensor.

    Returns:
        The module, in evaluation mode.

    Raises:
        CheckpointError: damaged or contradictory files.
        ConfigError: a config that is not of gpt-oss, or contradicts itself.
        RequestError: an unknown dtype or an absent device.
        CapacityError: what has to be copied exceeds the device's free memory.
    """
    place, wanted = torch_device(device), float_dtype(dtype)
    with open_tensors(source, wanted, place) as (config, tensors):
        with unmaterialised():
            module = build(config)
        if source.folder is None or wanted is not None or place.type != "cpu":
            check_room(source.name, module, wanted or torch.bfloat16, place)
        total = len(list(module.parameters()))
        state: dict[str, torch.Tensor] = {}
        for name, tensor in tensors:
            state[name] = _placed(tensor, wanted, place)
            if progress is not None:
                progress(f"loading {source.name}", len(state), total)
    # `assign` makes the tensors themselves the parameters; `strict` refuses any difference.
    module.load_state_dict(state, strict=True, assign=True)
    nbytes = sum(tensor.nbytes for tensor in state.values())
    _log.info("loaded %s: %d tensors, %d bytes, to %s", source.name, total, nbytes, place)
    return module.eval()


@contextmanager
def open_tensors(
    source: ModelSource, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> Iterator[tuple[ModelConfig, NamedTensors]]:
    """A model's config and all its tensors under canonical names, one at a time.

    Args:
        source: Which model.
        dtype: Of random weights (None: bfloat16); a checkpoint's keep theirs.
        device: Where random weights are made; a checkpoint's are on the CPU.
    """
    if source.folder is not None:
        with open_checkpoint(source.folder) as checkpoint:
            if checkpoint.head != LANGUAGE_MODEL:
                raise CheckpointError(
                    f"is a {checkpoint.head.architecture}, which generates no text; load it with "
                    "that class",
                    file=checkpoint.folder,
                )
            yield checkpoint.config, checkpoint.items()
        return
    assert source.random_config is not None
    tensors = random_tensors(source.random_config, dtype=dtype or torch.bfloat16, device=device)
    yield source.random_config, tensors


@contextmanager
def unmaterialised() -> Iterator[None]:
    """Within it modules are built without memory and without drawing numbers."""
    with torch.device("meta"), _WithoutInitialisers():
        yield


def _placed(tensor: torch.Tensor, dtype: torch.dtype | None, device: torch.device) -> torch.Tensor:
    """The tensor itself where nothing is to change."""
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)


class _WithoutInitialisers(TorchFunctionMode):
    """Within it torch.nn.init leaves tensors as they are.

    Nothing is lost on the meta device, and a second is gained: drawing random numbers there makes
    torch import its compiler.
    """

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        arguments = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return arguments["tensor"] if "tensor" in arguments else args[0]
        return func(*args, **arguments)
