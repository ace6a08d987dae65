"""The types that the values of a config.json must have, whichever of the two kinds it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ossia.errors import ConfigError

_LARGEST = 2**53  # beyond it, JSON numbers are no longer exact everywhere

_INTEGERS = frozenset(
    {
        "num_hidden_layers",
        "num_local_experts",
        "num_experts",
        "num_experts_per_tok",
        "experts_per_token",
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "head_dim",
        "num_attention_heads",
        "num_key_value_heads",
        "sliding_window",
        "max_position_embeddings",
        "initial_context_length",
        "original_max_position_embeddings",
        "bos_token_id",
        "pad_token_id",
    }
)
_NUMBERS = frozenset(
    {
        "rope_theta",
        "rope_scaling_factor",
        "rope_ntk_alpha",
        "rope_ntk_beta",
        "factor",
        "beta_fast",
        "beta_slow",
        "rms_norm_eps",
        "swiglu_alpha",
        "swiglu_limit",
        "router_aux_loss_coef",
        "initializer_range",
    }
)
_FLAGS = frozenset({"attention_bias", "tie_word_embeddings", "truncate"})
_ROPE = ("rope_scaling", "rope_parameters")
_OBJECTS = frozenset({*_ROPE, "quantization_config"})


def check_config_values(raw: Mapping[str, Any], *, allow_null: bool) -> None:
    """Look at every value whose key is known, those of rope objects included.

    Args:
        raw: The JSON object.
        allow_null: Whether a null counts as a key that is not there, outside rope objects.

    Raises:
        ConfigError: a value of the wrong type; names the key.
    """
    _check_types(raw, allow_null=allow_null)
    for name in _ROPE:
        _check_types(raw.get(name) or {}, allow_null=False, within=f"{name}.")


def _check_types(raw: Mapping[str, Any], *, allow_null: bool, within: str = "") -> None:
    for name, value in raw.items():
        expected = None if value is None and allow_null else _expectation(name, value)
        if expected is not None:
            raise ConfigError(f"{within}{name} is {_shown(value)}; expected {expected}")


def _expectation(name: str, value: Any) -> str | None:  # noqa: ANN401
    """What the value of a key should have been; None if it is that, or the key is not known."""
    checks = (
        (_INTEGERS, "an integer", _is_integer(value)),
        (_NUMBERS, "a number", _is_number(value)),
        (_FLAGS, "true or false", isinstance(value, bool)),
        (_OBJECTS, "an object", isinstance(value, dict)),
        ({"layer_types"}, "a list of names", _is_list_of(value, str)),
        ({"eos_token_id"}, "a token id", _is_integer(value) or _is_list_of(value, int)),
    )
    return next(
        (expected for names, expected, is_so in checks if name in names and not is_so), None
    )


def _is_integer(value: Any) -> bool:  # noqa: ANN401
    return type(value) is int and abs(value) <= _LARGEST


def _is_number(value: Any) -> bool:  # noqa: ANN401
    is_number = type(value) in (int, float)
    return is_number and math.isfinite(value) and abs(value) <= _LARGEST


def _is_list_of(value: Any, kind: type) -> bool:  # noqa: ANN401
    return isinstance(value, list) and bool(value) and all(type(item) is kind for item in value)


def _shown(value: Any) -> str:  # noqa: ANN401
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
