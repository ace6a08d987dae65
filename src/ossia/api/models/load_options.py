"""LoadOptions: the arguments of from_pretrained that say how to load, checked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ossia.api.argument_table import refuse, refuse_unknown
from ossia.api.models.arguments import FROM_PRETRAINED
from ossia.api.models.attn_names import checked_attention
from ossia.api.models.config import GptOssConfig
from ossia.api.models.config_defaults import SETTINGS
from ossia.api.models.quantization import Mxfp4Config, mxfp4_config
from ossia.api.placement import Dtype, float_dtype
from ossia.distributed import DistributedConfig
from ossia.errors import ConfigError, RequestError
from ossia.log import logger

_log = logger(__name__)
_told: set[str] = set()

_EXPERT_LOOPS = ("eager", "batched_mm", "grouped_mm")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How to load a model; see `PreTrainedModel.from_pretrained`."""

    dtype: torch.dtype | None
    device_map: Any
    device: torch.device | str | int | None
    max_memory: Mapping[Any, Any] | None
    attention: str
    quantization: Mxfp4Config | None
    config: GptOssConfig | None
    overrides: Mapping[str, Any]
    rename: Callable[[str], str] | None
    ignore_mismatched_sizes: bool


def settings_among(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the config among further arguments of `from_pretrained`.

    Raises:
        RequestError: an argument that is unknown or not supported; names it.
    """
    refuse(arguments, FROM_PRETRAINED.refused)
    rest = {name: arguments[name] for name in arguments if name not in FROM_PRETRAINED.refused}
    for name in rest:
        if name not in SETTINGS:
            refuse_unknown(name, "from_pretrained", SETTINGS | FROM_PRETRAINED.names)
    return rest


def one_dtype(dtype: Dtype | None, torch_dtype: Dtype | None) -> torch.dtype | None:
    """The dtype, by whichever of its two names it was given.

    Raises:
        RequestError: both names with different values, or no dtype that weights can have.
    """
    wanted, old = float_dtype(dtype), float_dtype(torch_dtype)
    if dtype is not None and torch_dtype is not None and wanted != old:
        raise RequestError(f"is {torch_dtype}, but dtype is {dtype}; give one", field="torch_dtype")
    return wanted if torch_dtype is None else old


def config_and_overrides(
    config: GptOssConfig | Any,  # noqa: ANN401
    overrides: Mapping[str, Any],
) -> GptOssConfig | None:
    """The config that was given, with its overrides.

    Raises:
        RequestError: something else was given.
    """
    if config is None:
        return None
    if isinstance(config, GptOssConfig):
        return GptOssConfig.from_dict(config.to_dict(), **overrides)
    if getattr(config, "model_type", None) == "gpt_oss" and hasattr(config, "to_dict"):
        return GptOssConfig.from_dict(config.to_dict(), **overrides)
    raise RequestError(f"{type(config).__name__} is no GptOssConfig", field="config")


def renaming(key_mapping: Mapping[str, str] | None) -> Callable[[str], str] | None:
    """Rules "expression": "replacement" on names in the files, as a function; the first that fits.

    Raises:
        RequestError: an expression that is none.
    """
    if not key_mapping:
        return None
    try:
        rules = [(re.compile(pattern), new) for pattern, new in key_mapping.items()]
    except (re.error, TypeError) as error:
        raise RequestError(f"{error}", field="key_mapping") from error

    def rename(name: str) -> str:
        for pattern, new in rules:
            renamed, count = pattern.subn(new, name)
            if count:
                return renamed
        return name

    return rename


def check_spread(tp_plan: object, tp_size: int | None, distributed_config: object) -> None:
    """Take note of a wish for several GPUs, which one process does without.

    Raises:
        RequestError: several processes were started, or an unknown plan.
    """
    if tp_plan is None and tp_size is None and distributed_config is None:
        return
    if isinstance(tp_plan, str) and tp_plan != "auto":
        raise RequestError(f"{tp_plan!r} is no plan; give 'auto'", field="tp_plan")
    if isinstance(distributed_config, Mapping):
        try:
            distributed_config = DistributedConfig.from_dict(distributed_config)
        except ConfigError as error:
            raise RequestError(str(error), field="distributed_config") from error
    processes = int(os.environ.get("WORLD_SIZE") or 1)
    if processes > 1:
        raise RequestError(
            f"WORLD_SIZE is {processes}: tensor and expert parallelism over several processes is "
            "not built yet; start one process, `device_map='auto'` keeps what does not fit on the "
            "CPU",
            field="distributed_config" if tp_plan is None and tp_size is None else "tp_plan",
        )
    say_once(
        "spread", "one process holds the whole model: tp_plan and distributed_config change nothing"
    )


def check_kernels(use_kernels: bool, experts_implementation: str | None) -> None:
    """Take note of wishes for kernels, which are chosen by device.

    Raises:
        RequestError: an unknown name.
    """
    if experts_implementation not in (None, *_EXPERT_LOOPS):
        raise RequestError(
            f"{experts_implementation!r} is not one of {', '.join(_EXPERT_LOOPS)}",
            field="experts_implementation",
        )
    if use_kernels or experts_implementation not in (None, "eager"):
        say_once("kernels", "Ossia chooses its kernels by device; see `ossia doctor`")


def say_no_code_is_run(trust_remote_code: bool | None) -> None:
    """Take note of a permission to run a repository's code, which is not needed."""
    if trust_remote_code:
        say_once("code", "trust_remote_code makes no difference: no code of a repository is run")


def say_once(key: str, message: str) -> None:
    """Log a line at level info, the first time in a process."""
    if key not in _told:
        _told.add(key)
        _log.info("%s", message)


def checked_options(
    *,
    dtype: Dtype | None,
    torch_dtype: Dtype | None,
    device_map: Any,  # noqa: ANN401
    device: torch.device | str | int | None,
    max_memory: Mapping[Any, Any] | None,
    attn_implementation: str | None,
    quantization_config: object,
    config: object,
    overrides: Mapping[str, Any],
    key_mapping: Mapping[str, str] | None,
    ignore_mismatched_sizes: bool,
) -> LoadOptions:
    """Check everything that can be checked before files are looked at.

    Raises:
        RequestError: names the argument at fault.
    """
    overrides = settings_among(overrides)
    return LoadOptions(
        dtype=one_dtype(dtype, torch_dtype),
        device_map=device_map,
        device=device,
        max_memory=max_memory,
        attention=checked_attention(attn_implementation),
        quantization=mxfp4_config(quantization_config),
        config=config_and_overrides(config, overrides),
        overrides=overrides,
        rename=renaming(key_mapping),
        ignore_mismatched_sizes=ignore_mismatched_sizes,
    )
