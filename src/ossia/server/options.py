"""ServeOptions: the model and the settings of a server, from a file, the environment and flags."""

from __future__ import annotations

import difflib
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from ossia.engine.config import CpuActivations, CpuWeights, Fp8Weights, KVDtype
from ossia.errors import ConfigError
from ossia.server.settings import ServerSettings

ENVIRONMENT_PREFIX: Final = "OSSIA_SERVE_"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model is served, and how it runs.

    Args:
        model: demo, random:20b|120b|tiny, a checkpoint folder, or a hub id.
        served_name: The name under which it is offered; None is `model`.
        revision: Branch, tag or commit of a hub id.
        device: auto, cpu, cuda, cuda:N or another device of torch.
        dtype: What floating-point weights become; "auto" keeps the checkpoint's.
        max_context: Prompt and output tokens of a request at most; None is the model's limit.
        max_sequences: Requests that run side by side; None is what suits the device.
        kv_cache_bytes: Size of the KV cache; None takes a share of the memory.
        kv_dtype: How keys and values are stored, as `EngineConfig` has it.
        cpu_weights: Of attention and the unembedding on the CPU, as `EngineConfig` has them.
        cpu_activations: What enters products on the CPU, as `EngineConfig` has it.
        fp8_weights: Which matrices are rounded on CUDA, as `EngineConfig` has it.
        fp8_prefill: Whether passes of many tokens compute in 8-bit floats on CUDA, as `EngineConfig` has it.
        deterministic: Whether answers do not depend on what else runs, as `EngineConfig` has it.
    """

    model: str = "demo"
    served_name: str | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    max_context: int | None = None
    max_sequences: int | None = None
    kv_cache_bytes: int | None = None
    kv_dtype: KVDtype = "auto"
    cpu_weights: CpuWeights = "bf16"
    cpu_activations: CpuActivations = "full"
    fp8_weights: Fp8Weights = "none"
    fp8_prefill: bool = False
    deterministic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Everything that `ossia serve` can be told.

    Args:
        model: Which model is served, and how it runs.
        settings: How the server behaves.
    """

    model: ModelOptions = field(default_factory=ModelOptions)
    settings: ServerSettings = field(default_factory=ServerSettings)


_PARTS: Final = {"model": ModelOptions, "settings": ServerSettings}
_KEY_FILE: Final = "api_key_file"
"""Read into `api_keys`: a key a line; empty lines and those that begin with # do not count."""


def serve_options(
    flags: Mapping[str, Any],
    *,
    environ: Mapping[str, str],
    config_file: Path | None = None,
) -> ServeOptions:
    """Put together what a server is told; a flag outdoes the environment, and that the file.

    Args:
        flags: By the names of the options; None is not given.
        environ: `OSSIA_SERVE_` and an option's name in capitals; lists are parted by commas. An
            empty one counts as not given.
        config_file: TOML whose keys are the options' names.

    Raises:
        ConfigError: a name or a value makes no sense; says where it stands.
    """
    kinds = _kinds()
    given: dict[str, Any] = {}
    if config_file is not None:
        for name, value in _read_toml(config_file).items():
            given[name] = _from_toml(name, value, kinds, str(config_file))
    for variable, text in environ.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and text:
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            given[name] = _from_text(name, text, kinds, variable)
    given |= {name: value for name, value in flags.items() if value is not None}
    if (key_file := given.pop(_KEY_FILE, None)) is not None:
        given["api_keys"] = (*given.get("api_keys", ()), *_read_keys(Path(key_file)))
    parts = {
        part: kind(**{each.name: given[each.name] for each in fields(kind) if each.name in given})
        for part, kind in _PARTS.items()
    }
    return ServeOptions(**parts)


def _kinds() -> dict[str, Any]:
    """Every option's type."""
    kinds: dict[str, Any] = {_KEY_FILE: Path}
    for kind in _PARTS.values():
        kinds |= get_type_hints(kind)
    return kinds


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except ValueError as error:  # no UTF-8, or no TOML
        raise ConfigError(f"{file}: {error}") from error


def _read_keys(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys:
        raise ConfigError(f"{file} holds no key; write one a line")
    return keys


def _kind_of(name: str, kinds: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401
    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{where}: there is no option {name!r}{hint}")
    kind = kinds[name]
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    return kind


def _from_toml(name: str, value: object, kinds: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401
    kind = _kind_of(name, kinds, where)
    if get_origin(kind) is Literal:
        return _one_of(name, value, kind, where)
    if get_origin(kind) is tuple:
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return tuple(value)
        raise ConfigError(f"{where}: {name} must be a list of strings")
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where}: {name} must be of type {kind.__name__}, not {value!r}")
    return value


def _from_text(name: str, text: str, kinds: Mapping[str, Any], where: str) -> Any:  # noqa: ANN401
    kind = _kind_of(name, kinds, where)
    if get_origin(kind) is Literal:
        return _one_of(name, text, kind, where)
    if get_origin(kind) is tuple:
        return tuple(one.strip() for one in text.split(",") if one.strip())
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on", "0", "false", "no", "off"):
            return text.lower() in ("1", "true", "yes", "on")
        raise ConfigError(f"{where}={text!r} is neither 1 nor 0")
    try:
        return Path(text).expanduser() if kind is Path else kind(text)
    except ValueError:
        raise ConfigError(f"{where}={text!r} is not of type {kind.__name__}") from None


def _one_of(name: str, value: object, kind: Any, where: str) -> Any:  # noqa: ANN401
    choices = get_args(kind)
    if value not in choices:
        raise ConfigError(f"{where}: {name} is {value!r}; known: {', '.join(choices)}")
    return value
