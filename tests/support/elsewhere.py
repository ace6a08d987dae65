"""A device of torch's that is neither a CPU nor CUDA, written in Python: its numbers lie on the CPU.

It stands for accelerators that no test machine has. Like them it refuses what lies on two devices, and like some of them
it has no float64. Importing this changes torch for the whole process, so that is done in a process of its own.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import library
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"
_ALREADY_RIGHT = ("copy_", "_copy_from", "_copy_from_and_resize", "_to_copy", "detach", "alias")
# By a tensor's storage, which none has but those that torch makes of it by itself.
_held: dict[int, torch.Tensor] = {}


def _key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _wrapped(held: torch.Tensor) -> torch.Tensor:
    if held.dtype is torch.float64:
        raise TypeError(f"{NAME} has no float64")
    make = torch._C._acc.create_empty_tensor  # pyright: ignore[reportAttributeAccessIssue]
    tensor = make(tuple(held.shape), held.dtype)
    _held[_key(tensor)] = held
    return tensor


def _run(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """On the CPU, with what the arguments hold."""
    given: dict[int, torch.Tensor] = {}  # what is changed in place stays the tensor that it is

    def inner(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if value.device.type == NAME:
            held = _held[_key(value)]
            given[id(held)] = value
            return held
        if value.dim() > 0:
            raise RuntimeError(f"{operation}: a tensor on {value.device} beside those {NAME}")
        return value

    args, kwargs = pytree.tree_map(inner, (args, kwargs))
    if "device" in kwargs:
        kwargs["device"] = torch.device("cpu")
    # By the packet: numbers that were tensors of no dimension come as Python's. Tensors here say that they are contiguous
    # where what they hold is not, so torch asks for views where it would have copied.
    packet = operation.overloadpacket
    same_shape = packet in (torch.ops.aten.view, torch.ops.aten._unsafe_view)
    if same_shape and not isinstance(args[1], torch.dtype):
        packet = torch.reshape
    result = packet(*args, **kwargs)
    return pytree.tree_map_only(
        torch.Tensor, lambda held: given[id(held)] if id(held) in given else _wrapped(held), result
    )


def _copy_from(
    source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False
) -> torch.Tensor:
    del non_blocking
    sides = [_held[_key(one)] if one.device.type == NAME else one for one in (source, target)]
    sides[1].copy_(sides[0])
    return target


def _has_one_for_all_devices(name: str) -> bool:
    """Whether torch would run its own code for an operation, which knows nothing of what tensors hold."""
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    explicit = has(name, "CompositeExplicitAutograd")
    return explicit and not has(name, "CompositeImplicitAutograd")


_setup_privateuseone_for_python_backend(NAME)
_others = library.Library("_", "IMPL")
_others.fallback(_run, "PrivateUse1")
_aten = library.Library("aten", "IMPL")
_aten.impl("_copy_from", _copy_from, "PrivateUse1")
for _name in torch._C._dispatch_get_all_op_names():
    _space, _, _rest = _name.partition("::")
    _base, _, _overload = _rest.partition(".")
    if _space != "aten" or _base in _ALREADY_RIGHT or not _has_one_for_all_devices(_name):
        continue
    if hasattr(packet := getattr(torch.ops.aten, _base), _overload or "default"):
        _aten.impl(_rest, partial(_run, getattr(packet, _overload or "default")), "PrivateUse1")
# What Python makes within it has no version, and what torch makes of that asks for one.
torch.inference_mode = torch.no_grad  # type: ignore[misc]
