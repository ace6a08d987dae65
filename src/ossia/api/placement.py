"""Where a model goes and in which dtype: user words to torch's."""

from __future__ import annotations

from typing import Literal

import torch

from ossia.errors import RequestError

DTYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}

Dtype = torch.dtype | Literal["auto"] | str


def float_dtype(dtype: Dtype | None) -> torch.dtype | None:
    """The dtype that floating-point weights are to have; None keeps what the checkpoint has.

    Args:
        dtype: A torch dtype, its name, or "auto" or None to keep the checkpoint's.

    Raises:
        RequestError: not a floating-point dtype that the model computes in.
    """
    if dtype is None or dtype == "auto":
        return None
    known = dtype if isinstance(dtype, torch.dtype) else DTYPES.get(dtype)
    if known is None or known not in DTYPES.values():
        raise RequestError(f"{str(dtype)!r} is not one of auto, {', '.join(DTYPES)}", field="dtype")
    return known


def torch_device(device: torch.device | str) -> torch.device:
    """The device, once it is known to be there.

    Args:
        device: A torch device or its name; "auto" is the first CUDA device, or else the CPU.

    Raises:
        RequestError: no such kind of device, or none of it on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise RequestError(
            f"{device!r} is not one of auto, cpu, cuda, cuda:N or another device of torch",
            field="device",
        ) from error
    if found.type == "cuda":
        _check_cuda(found)
    elif found.type != "cpu":
        _check_other(found)
    return found


def _check_cuda(device: torch.device) -> None:
    if not torch.cuda.is_available():
        raise RequestError("this torch finds no CUDA device; see `ossia doctor`", field="device")
    if (device.index or 0) >= torch.cuda.device_count():
        raise RequestError(
            f"{device} is not there; this machine has {torch.cuda.device_count()} CUDA devices",
            field="device",
        )


def _check_other(device: torch.device) -> None:
    try:
        torch.zeros(1, device=device).tolist()  # what "meta" makes holds no numbers
    except Exception as error:  # of whatever kind a backend that is not there raises
        raise RequestError(
            f"this torch keeps no numbers on {device}; use auto, cpu or cuda", field="device"
        ) from error
