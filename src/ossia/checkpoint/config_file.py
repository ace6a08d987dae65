"""config.json: from a file of either kind to a ModelConfig; every complaint names the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ossia.config import ModelConfig, WeightFormat
from ossia.errors import CheckpointError, ConfigError

CONFIG_FILE = "config.json"


def read_model_config(
    raw: Mapping[str, Any], found_format: WeightFormat, path: Path
) -> ModelConfig:
    """Read a config of either kind.

    Args:
        raw: The JSON object.
        found_format: How the weights store the experts, for the kind of config that does not say.
        path: Where it was read, for the errors.

    Raises:
        ConfigError: not gpt-oss, incomplete, contradictory, or a value of the wrong type.
    """
    try:
        if "model_type" not in raw:
            return ModelConfig.from_original(raw, found_format)
        return ModelConfig.from_hf(raw)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def read_json_object(path: Path, error_type: type[CheckpointError | ConfigError]) -> dict[str, Any]:
    """A JSON file's object.

    Raises:
        CheckpointError: or ConfigError, as asked: missing, no JSON, or no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise error_type(f"{path}: is missing beside the weights") from error
    except OSError as error:
        raise error_type(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise error_type(f"{path}: is no valid JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(value, dict):
        raise error_type(f"{path}: holds no JSON object")
    return value
