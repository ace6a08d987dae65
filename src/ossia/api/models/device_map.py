"""Placement: which device holds which weights, and experts that stay in CPU memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ossia.api.placement import torch_device
from ossia.errors import RequestError

_SPREAD = ("auto", "balanced", "balanced_low_0", "sequential")
_EXPERTS = re.compile(r"(?:model\.)?layers\.(\d+)\.mlp\.experts\.")
_LAYER = re.compile(r"(?:model\.)?layers\.(\d+)(?:\.mlp(?:\.experts)?)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
# Kept free of weights: activations, the cache, and the experts that are sent.
_RESERVED_PART = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where weights go.

    Args:
        device: Where the model computes, and all weights but those below.
        experts_on_cpu: Layers whose experts stay in CPU memory; each expert is sent to `device`
            when a token has chosen it.
    """

    device: torch.device
    experts_on_cpu: frozenset[int] = frozenset()

    def of(self, name: str) -> torch.device:
        """The device of a parameter, by its name."""
        match = _EXPERTS.match(name)
        on_cpu = match is not None and int(match[1]) in self.experts_on_cpu
        return torch.device("cpu") if on_cpu else self.device

    def as_map(self) -> dict[str, str]:
        """As transformers writes it: module names to devices."""
        experts = {f"model.layers.{idx}.mlp.experts": "cpu" for idx in sorted(self.experts_on_cpu)}
        return {"": str(self.device), **experts}


def asked_placement(
    device_map: Any,  # noqa: ANN401
    device: torch.device | str | int | None,
    sizes: Mapping[str, int],
    max_memory: Mapping[Any, Any] | None = None,
) -> Placement:
    """The placement that arguments of `from_pretrained` ask for.

    Args:
        device_map: "auto" (or transformers' other words for it), a device, or devices by module
            name; None leaves it to `device`.
        device: A device; None is the CPU.
        sizes: Bytes of each parameter.
        max_memory: Bytes, or text such as "20GiB", by device; bounds what "auto" uses.

    Raises:
        RequestError: devices that are not there, a map that puts more than experts elsewhere, or
            bounds without "auto".
    """
    spreads = isinstance(device_map, str) and device_map in _SPREAD
    if max_memory and not spreads:
        raise RequestError("bounds what device_map='auto' takes; give that", field="max_memory")
    if device_map is None:
        return Placement(device=_device("cpu" if device is None else device, "device"))
    if device is not None:
        raise RequestError("was given as well as device_map; give one", field="device")
    if isinstance(device_map, Mapping):
        return _by_module(device_map)
    if spreads:
        place = torch_device("auto")
        if place.type == "cpu":
            return Placement(device=place)
        return fitted(sizes, place, _budget(place, max_memory))
    return Placement(device=_device(device_map, "device_map"))


def fitted(sizes: Mapping[str, int], device: torch.device, budget: int) -> Placement:
    """Everything on one device, but for the experts of as many last layers as it cannot hold.

    Args:
        sizes: Bytes of each parameter.
        device: Where the model computes.
        budget: Bytes that weights may take there.
    """
    experts: dict[int, int] = {}
    for name, nbytes in sizes.items():
        if match := _EXPERTS.match(name):
            layer = int(match[1])
            experts[layer] = experts.get(layer, 0) + nbytes
    needed, on_cpu = sum(sizes.values()), set[int]()
    for layer in sorted(experts, reverse=True):
        if needed <= budget:
            break
        needed -= experts[layer]
        on_cpu.add(layer)
    return Placement(device=device, experts_on_cpu=frozenset(on_cpu))


def _budget(device: torch.device, max_memory: Mapping[Any, Any] | None) -> int:
    free, _ = torch.cuda.mem_get_info(device)
    budget = int(free * (1 - _RESERVED_PART))
    for key, value in (max_memory or {}).items():
        if _device(key, "max_memory") == torch.device(device.type, device.index or 0):
            budget = min(budget, parse_bytes(value, "max_memory"))
    return budget


def parse_bytes(value: Any, field: str) -> int:  # noqa: ANN401
    """A size: a number of bytes, or text such as "5GB" (10**9) or "5GiB" (2**30).

    Raises:
        RequestError: neither.
    """
    if type(value) is int and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise RequestError(f"{value!r} is no size; write bytes or text like '5GB'", field=field)
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _POWERS[match[2].upper()])


def _by_module(device_map: Mapping[str, Any]) -> Placement:
    places = {name: _device(place, "device_map") for name, place in device_map.items()}
    if not places:
        raise RequestError("is empty", field="device_map")
    main = next((place for place in places.values() if place.type != "cpu"), torch.device("cpu"))
    on_cpu: set[int] = set()
    for name, place in places.items():
        if place == main:
            continue
        match = _LAYER.fullmatch(name)
        if place.type != "cpu" or match is None:
            raise RequestError(
                f"puts {name!r} on {place} and others on {main}; one device computes, and only "
                "layers' experts may stay on the CPU",
                field="device_map",
            )
        on_cpu.add(int(match[1]))
    return Placement(device=main, experts_on_cpu=frozenset(on_cpu))


def _device(value: Any, field: str) -> torch.device:  # noqa: ANN401
    if value == "disk":
        raise RequestError(
            "weights on disk are not offloaded; on the CPU they are views on the files anyway",
            field=field,
        )
    if type(value) is int:
        value = f"cuda:{value}"
    if not isinstance(value, str | torch.device):
        raise RequestError(f"{value!r} is no device", field=field)
    try:
        return torch_device(value)
    except RequestError as error:
        raise RequestError(str(error).removeprefix("device: "), field=field) from error
