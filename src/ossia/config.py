"""ModelConfig: the shape of a gpt-oss model, from either kind of config.json or a preset.

Knows nothing of files: it takes and gives plain dictionaries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ossia.config_values import check_config_values
from ossia.errors import ConfigError

LayerType = Literal["sliding_attention", "full_attention"]
WeightFormat = Literal["mxfp4", "dense"]

_RELEASED_EOS = 200_002  # <|return|>
MXFP4_BLOCK = 32  # values that share one scale (OCP Microscaling Formats v1.0, section 5.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling:
    """YaRN parameters (Peng et al. 2023, arXiv:2309.00071); `factor` 1 means plain rope."""

    factor: float = 32.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    original_max_position_embeddings: int = 4096
    truncate: bool = False

    @property
    def concentration(self) -> float:
        """What cos and sin are multiplied by: 0.1 ln(factor) + 1 (YaRN, section 3.4)."""
        return 0.1 * math.log(self.factor) + 1.0 if self.factor > 1.0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything the arithmetic of a gpt-oss model depends on.

    Raises:
        ConfigError: a value is out of range, or two values contradict each other.
    """

    num_hidden_layers: int
    num_experts: int
    experts_per_token: int = 4
    vocab_size: int = 201_088
    hidden_size: int = 2880
    intermediate_size: int = 2880
    head_dim: int = 64
    num_attention_heads: int = 64
    num_key_value_heads: int = 8
    sliding_window: int = 128
    layer_types: tuple[LayerType, ...] = ()
    max_position_embeddings: int = 131_072
    rope_theta: float = 150_000.0
    rope_scaling: RopeScaling = field(default_factory=RopeScaling)
    rms_norm_eps: float = 1e-5
    attention_bias: bool = True
    swiglu_alpha: float = 1.702
    swiglu_limit: float = 7.0
    router_aux_loss_coef: float = 0.9
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: int | None = _RELEASED_EOS
    pad_token_id: int | None = 199_999
    expert_format: WeightFormat = "mxfp4"

    def __post_init__(self) -> None:
        if not self.layer_types:
            alternating = (layer_type_at(idx) for idx in range(self.num_hidden_layers))
            object.__setattr__(self, "layer_types", tuple(alternating))
        _check_positive(self)
        _check_consistent(self)
        _check_token_ids(self)

    @property
    def num_key_value_groups(self) -> int:
        """Query heads that share one key and value head."""
        return self.num_attention_heads // self.num_key_value_heads

    def window_of(self, layer_idx: int) -> int | None:
        """Keys a query of this layer may see, itself included; None means all."""
        return self.sliding_window if self.layer_types[layer_idx] == "sliding_attention" else None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ModelConfig:
        """Read a config.json of the Hugging Face or the `original/` kind."""
        return cls.from_hf(raw) if "model_type" in raw else cls.from_original(raw)

    @classmethod
    def from_hf(cls, raw: Mapping[str, Any]) -> ModelConfig:
        """Read the Hugging Face kind, with old (`rope_theta`) or new (`rope_parameters`) rope keys."""
        check_config_values(raw, allow_null=True)
        _require_gpt_oss(raw)
        known: dict[str, Any] = {
            name: raw[name]
            for name in _HF_PLAIN_FIELDS
            if name in raw and (raw[name] is not None or name in _NULLABLE)
        }
        known["num_experts"] = _same_value(raw, "num_local_experts", "num_experts")
        per_token = _same_value(raw, "num_experts_per_tok", "experts_per_token", required=False)
        if per_token is not None:
            known["experts_per_token"] = per_token
        if "num_hidden_layers" not in known:
            raise ConfigError("num_hidden_layers is missing from config.json")
        if isinstance(known.get("eos_token_id"), list):
            known["eos_token_id"] = known["eos_token_id"][0]
        if "layer_types" in raw and raw["layer_types"] is not None:
            known["layer_types"] = tuple(raw["layer_types"])
        known |= _unsaid_token_ids(raw)
        known |= _rope_from_hf(raw)
        known["expert_format"] = _expert_format(raw.get("quantization_config"))
        return cls(**known)

    @classmethod
    def from_original(
        cls, raw: Mapping[str, Any], expert_format: WeightFormat = "mxfp4"
    ) -> ModelConfig:
        """Read the kind that lies beside the `original/` weights; it omits the experts' format."""
        check_config_values(raw, allow_null=False)
        missing = [name for name in ("num_hidden_layers", "num_experts") if name not in raw]
        if missing:
            raise ConfigError(f"{missing[0]} is missing; is this a gpt-oss config.json?")
        known = {name: raw[name] for name in _ORIGINAL_PLAIN_FIELDS if name in raw}
        rope = RopeScaling(
            factor=float(raw.get("rope_scaling_factor", 32.0)),
            beta_fast=float(raw.get("rope_ntk_beta", 32.0)),
            beta_slow=float(raw.get("rope_ntk_alpha", 1.0)),
            original_max_position_embeddings=int(raw.get("initial_context_length", 4096)),
        )
        context = int(rope.original_max_position_embeddings * max(rope.factor, 1.0))
        known |= {"rope_scaling": rope, "max_position_embeddings": context}
        known |= _unsaid_token_ids(raw)
        return cls(**known, expert_format=expert_format)

    def to_hf(self) -> dict[str, Any]:
        """The Hugging Face config.json, with the keys that every transformers version reads."""
        raw: dict[str, Any] = {
            "architectures": ["GptOssForCausalLM"],
            "model_type": "gpt_oss",
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "output_router_logits": False,
            "tie_word_embeddings": False,
            "use_cache": True,
            "experts_per_token": self.experts_per_token,
            "initial_context_length": self.rope_scaling.original_max_position_embeddings,
            "layer_types": list(self.layer_types),
            "num_experts_per_tok": self.experts_per_token,
            "num_local_experts": self.num_experts,
            "rope_theta": self.rope_theta,
            "rope_scaling": {
                "rope_type": "yarn",
                "factor": self.rope_scaling.factor,
                "beta_fast": self.rope_scaling.beta_fast,
                "beta_slow": self.rope_scaling.beta_slow,
                "original_max_position_embeddings": (
                    self.rope_scaling.original_max_position_embeddings
                ),
                "truncate": self.rope_scaling.truncate,
            },
        }
        raw |= {name: getattr(self, name) for name in _HF_PLAIN_FIELDS}
        if self.rope_scaling.factor <= 1.0:
            raw["rope_scaling"] = {"rope_type": "default"}
        if self.expert_format == "mxfp4":
            raw["quantization_config"] = {
                "quant_method": "mxfp4",
                "modules_to_not_convert": list(_NOT_QUANTIZED),
            }
        return dict(sorted(raw.items()))

    def to_original(self) -> dict[str, Any]:
        """The config.json that the `original/` layout carries.

        Raises:
            ConfigError: this model has a setting that the original layout cannot express.
        """
        defaults = replace(self, layer_types=(), swiglu_alpha=1.702, rms_norm_eps=1e-5)
        if defaults != self or not self.attention_bias or self.rope_scaling.truncate:
            raise ConfigError(
                "the original layout knows only alternating layers, attention bias, "
                "swiglu_alpha 1.702, rms_norm_eps 1e-5 and untruncated YaRN; write the hf layout"
            )
        raw = {name: getattr(self, name) for name in _ORIGINAL_PLAIN_FIELDS}
        raw |= {
            "initial_context_length": self.rope_scaling.original_max_position_embeddings,
            "rope_scaling_factor": self.rope_scaling.factor,
            "rope_ntk_alpha": self.rope_scaling.beta_slow,
            "rope_ntk_beta": self.rope_scaling.beta_fast,
        }
        return raw


def layer_type_at(layer_idx: int) -> LayerType:
    """Even layers slide, odd layers see everything (gpt-oss model card, section 2.2)."""
    return "full_attention" if layer_idx % 2 else "sliding_attention"


PRESETS: Mapping[str, Callable[[], ModelConfig]] = {
    "20b": lambda: ModelConfig(num_hidden_layers=24, num_experts=32),
    "120b": lambda: ModelConfig(num_hidden_layers=36, num_experts=128),
    "tiny": lambda: ModelConfig(
        num_hidden_layers=2,
        num_experts=4,
        experts_per_token=2,
        hidden_size=64,
        intermediate_size=64,
        head_dim=64,
        num_attention_heads=8,
        num_key_value_heads=1,
    ),
}

_NOT_QUANTIZED = (
    "model.layers.*.self_attn",
    "model.layers.*.mlp.router",
    "model.embed_tokens",
    "lm_head",
)
_SHARED_FIELDS = (
    "num_hidden_layers",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "head_dim",
    "num_attention_heads",
    "num_key_value_heads",
    "sliding_window",
    "rope_theta",
    "swiglu_limit",
)
_ORIGINAL_PLAIN_FIELDS = (*_SHARED_FIELDS, "num_experts", "experts_per_token")
_HF_PLAIN_FIELDS = (
    *(name for name in _SHARED_FIELDS if name != "rope_theta"),
    "max_position_embeddings",
    "rms_norm_eps",
    "attention_bias",
    "swiglu_alpha",
    "router_aux_loss_coef",
    "initializer_range",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
_NULLABLE = frozenset({"bos_token_id", "eos_token_id", "pad_token_id"})


def _unsaid_token_ids(raw: Mapping[str, Any]) -> dict[str, None]:
    """No token instead of the released models' where that lies outside a small vocabulary.

    The original layout leaves token ids out, and transformers 4 does where there are none.
    """
    vocab_size = raw.get("vocab_size")
    if not isinstance(vocab_size, int) or vocab_size > _RELEASED_EOS:  # nonsense is refused later
        return {}
    return {name: None for name in ("eos_token_id", "pad_token_id") if name not in raw}


def _require_gpt_oss(raw: Mapping[str, Any]) -> None:
    if raw.get("model_type") != "gpt_oss":
        raise ConfigError(f"model_type is {raw.get('model_type')!r}; Ossia runs only 'gpt_oss'")
    if raw.get("tie_word_embeddings"):
        raise ConfigError("tie_word_embeddings is true; gpt-oss has a separate lm_head")
    if raw.get("attention_dropout"):
        raise ConfigError("attention_dropout is not 0; gpt-oss has none")
    if raw.get("hidden_act", "silu") != "silu":
        raise ConfigError(f"hidden_act is {raw['hidden_act']!r}; gpt-oss uses 'silu'")


def _same_value(raw: Mapping[str, Any], *names: str, required: bool = True) -> Any:  # noqa: ANN401
    """The one value that all given keys agree on; transformers silently prefers one of them."""
    values = {name: raw[name] for name in names if raw.get(name) is not None}
    if len(set(values.values())) > 1:
        pairs = " and ".join(f"{name}={value}" for name, value in values.items())
        raise ConfigError(f"{pairs} contradict each other; keep one")
    if not values and required:
        raise ConfigError(f"{names[0]} is missing from config.json")
    return next(iter(values.values()), None)


def _rope_from_hf(raw: Mapping[str, Any]) -> dict[str, Any]:
    new: Mapping[str, Any] = raw.get("rope_parameters") or {}
    old: Mapping[str, Any] = raw.get("rope_scaling") or {}
    theta = _same_value(
        {"rope_theta": raw.get("rope_theta"), "rope_parameters.rope_theta": new.get("rope_theta")},
        "rope_theta",
        "rope_parameters.rope_theta",
        required=False,
    )
    scaling = new or old
    known: dict[str, Any] = {} if theta is None else {"rope_theta": float(theta)}
    # Like transformers, a config.json that is silent on rope means gpt-oss's own YaRN.
    kind = scaling.get("rope_type", scaling.get("type", "yarn"))
    if kind == "default":
        known["rope_scaling"] = RopeScaling(factor=1.0)
        return known
    if kind != "yarn":
        raise ConfigError(f"rope_type is {kind!r}; gpt-oss uses 'yarn'")
    unsupported = {"attention_factor", "mscale", "mscale_all_dim"} & {
        name for name, value in scaling.items() if value is not None
    }
    if unsupported:
        raise ConfigError(f"rope_scaling.{min(unsupported)} is not used by gpt-oss; remove it")
    original = scaling.get("original_max_position_embeddings") or raw.get("initial_context_length")
    defaults = RopeScaling()
    known["rope_scaling"] = RopeScaling(
        factor=float(scaling.get("factor", defaults.factor)),
        beta_fast=float(scaling.get("beta_fast", defaults.beta_fast)),
        beta_slow=float(scaling.get("beta_slow", defaults.beta_slow)),
        original_max_position_embeddings=int(original or defaults.original_max_position_embeddings),
        truncate=bool(scaling.get("truncate", bool(scaling))),
    )
    return known


def _expert_format(quantization: Mapping[str, Any] | None) -> WeightFormat:
    if not quantization:
        return "dense"
    method = quantization.get("quant_method")
    if method != "mxfp4":
        raise ConfigError(f"quant_method is {method!r}; Ossia reads 'mxfp4' and plain floats")
    return "dense" if quantization.get("dequantize") else "mxfp4"


def _check_positive(config: ModelConfig) -> None:
    for name in (
        "num_hidden_layers",
        "num_experts",
        "experts_per_token",
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "head_dim",
        "num_attention_heads",
        "num_key_value_heads",
        "sliding_window",
        "max_position_embeddings",
        "rope_theta",
        "rms_norm_eps",
        "swiglu_limit",
    ):
        if getattr(config, name) <= 0:
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be positive")


def _check_consistent(config: ModelConfig) -> None:
    if config.num_attention_heads % config.num_key_value_heads:
        raise ConfigError(
            f"num_attention_heads={config.num_attention_heads} is no multiple of "
            f"num_key_value_heads={config.num_key_value_heads}"
        )
    if config.head_dim % 2:
        raise ConfigError(f"head_dim is {config.head_dim}; rope needs an even number")
    if config.experts_per_token > config.num_experts:
        raise ConfigError(
            f"experts_per_token={config.experts_per_token} exceeds num_experts={config.num_experts}"
        )
    if len(config.layer_types) != config.num_hidden_layers:
        raise ConfigError(
            f"layer_types has {len(config.layer_types)} entries "
            f"for num_hidden_layers={config.num_hidden_layers}"
        )
    unknown = set(config.layer_types) - {"sliding_attention", "full_attention"}
    if unknown:
        raise ConfigError(f"layer_types holds {min(unknown)!r}; known: sliding/full_attention")
    if config.expert_format == "mxfp4":
        for name in ("hidden_size", "intermediate_size"):
            if getattr(config, name) % MXFP4_BLOCK:
                raise ConfigError(
                    f"{name}={getattr(config, name)} is no multiple of {MXFP4_BLOCK}, "
                    "which MXFP4 experts need"
                )


def _check_token_ids(config: ModelConfig) -> None:
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        token_id = getattr(config, name)
        if token_id is not None and not 0 <= token_id < config.vocab_size:
            raise ConfigError(f"{name}={token_id} lies outside vocab_size={config.vocab_size}")
