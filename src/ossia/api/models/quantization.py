"""Mxfp4Config: whether experts are to be packed or plain floats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ossia.config import WeightFormat
from ossia.errors import RequestError

_METHOD = "mxfp4"
_AN_EXPERT_MODULE = "model.layers.0.mlp.experts"


@dataclass(slots=True)
class Mxfp4Config:
    """How experts are held; transformers' names.

    Args:
        modules_to_not_convert: Patterns of module names that are to stay floats. Only experts are
            ever packed, so what is named may not be experts; None names nothing.
        dequantize: Expand packed experts to floats, which can be trained.
    """

    quant_method: ClassVar[str] = _METHOD
    modules_to_not_convert: Sequence[str] | None = None
    dequantize: bool = False

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Mxfp4Config:
        """From the `quantization_config` of a config.json.

        Raises:
            RequestError: another method, or an unknown setting.
        """
        method = getattr(values.get("quant_method", _METHOD), "value", values.get("quant_method"))
        if method not in (None, _METHOD):
            raise RequestError(
                f"quant_method is {method!r}; Ossia packs experts as mxfp4, or not at all",
                field="quantization_config",
            )
        known = ("quant_method", "modules_to_not_convert", "dequantize")
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise RequestError(f"has no setting {unknown[0]}", field="quantization_config")
        return cls(values.get("modules_to_not_convert"), bool(values.get("dequantize")))

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds."""
        names = self.modules_to_not_convert
        return {
            "quant_method": _METHOD,
            "modules_to_not_convert": None if names is None else list(names),
            **({"dequantize": True} if self.dequantize else {}),
        }


def mxfp4_config(value: object) -> Mxfp4Config | None:
    """What was given as `quantization_config`.

    Args:
        value: An Mxfp4Config of Ossia or of transformers, its dictionary, or None.

    Raises:
        RequestError: another kind of quantisation, or experts that are to stay floats.
    """
    if value is None:
        return None
    if isinstance(value, Mxfp4Config):
        config = value
    elif isinstance(value, Mapping):
        config = Mxfp4Config.from_dict(value)
    elif getattr(getattr(value, "quant_method", None), "value", None) == _METHOD:
        names = getattr(value, "modules_to_not_convert", None)
        config = Mxfp4Config(names, bool(getattr(value, "dequantize", False)))
    else:
        raise RequestError(
            f"{type(value).__name__} is not supported; gpt-oss has Mxfp4Config",
            field="quantization_config",
        )
    for pattern in config.modules_to_not_convert or ():
        if _covers_experts(pattern):
            raise RequestError(
                f"modules_to_not_convert names experts ({pattern!r}); all are packed or, with "
                "Mxfp4Config(dequantize=True), none",
                field="quantization_config",
            )
    return config


def expert_format(config: Mxfp4Config | None, stored: WeightFormat) -> WeightFormat:
    """How experts are to be held, given how they are stored."""
    if config is None:
        return stored
    return "dense" if config.dequantize else "mxfp4"


def _covers_experts(pattern: str) -> bool:
    expression = re.escape(pattern).replace(r"\*", r"[^.]+")
    return re.match(rf"(?:{expression})(?:$|\.)", _AN_EXPERT_MODULE) is not None
