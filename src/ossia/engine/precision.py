"""In what precision an engine's model computes: what the config asks for, or an error that says why it cannot be.

Each of these is for one field of EngineConfig, and raises ConfigError where model or machine do not have what it asks
for. Some bring the model's weights into another form, in place; an engine that wants them otherwise is refused if they
cannot be had back.
"""

from __future__ import annotations

import torch

from ossia.config import LayerType
from ossia.engine.config import EngineConfig, StepLimits
from ossia.errors import ConfigError
from ossia.kernels.fp8 import FP8, MANY_TOKENS, has_fp8
from ossia.log import logger
from ossia.machine import machine_memory
from ossia.model.fp8_prefill import add_copies
from ossia.model.fp8_prefill import why_not as why_no_copies
from ossia.model.fp8_weights import round_weights, rounded_parts
from ossia.model.fp8_weights import why_not as why_not_fp8
from ossia.model.heads import CausalLM
from ossia.model.quantizing import is_quantized, quantize_weights
from ossia.model.quantizing import why_not as why_not_quantized

_log = logger(__name__)
_FP8_UNIT = 16  # numbers; kernels read rows in so many bytes
_ROOM = 1.5  # times the weights: with less memory "auto" chooses those of 8 bits


def kv_dtype(config: EngineConfig, weight: torch.Tensor, head_dim: int) -> torch.dtype:
    """Of full layers' keys and values.

    Args:
        config: Its `kv_dtype` counts.
        weight: Any of the model's, where the cache will be.
        head_dim: Numbers of a key.
    """
    if config.kv_dtype == "auto":
        return weight.dtype
    if config.kv_dtype == "fp8":
        if (reason := _why_not_fp8_rows(weight, head_dim)) is not None:
            raise ConfigError(f"kv_dtype='fp8' {reason}; leave it out for this one")
        return FP8
    if config.kv_dtype == "int8" and weight.device.type != "cpu":
        raise ConfigError("kv_dtype='int8' is for models on the CPU; leave it out for this one")
    return getattr(torch, config.kv_dtype)


def _why_not_fp8_rows(weight: torch.Tensor, head_dim: int) -> str | None:
    """Why a model's keys and values cannot be kept so; None where they can."""
    if weight.device.type != "cuda":
        return "is for models on CUDA"
    if weight.dtype is not torch.bfloat16:
        return "is for models in bfloat16"
    if head_dim % _FP8_UNIT:
        return f"needs a head_dim that is a multiple of {_FP8_UNIT}"
    if not has_fp8(weight.device):
        return "needs compute capability 9.0 or newer"
    return None


def stays_wide(kind: LayerType, dtype: torch.dtype) -> bool:
    """Whether layers keep the model's dtype beside full ones in another: of fp8 windows gain little."""
    return dtype is FP8 and kind != "full_attention"


def int8_activations_of(config: EngineConfig, model: CausalLM) -> bool:
    """Whether what enters products on the CPU is rounded to 8 bits."""
    if config.cpu_activations == "full":
        return False
    on_cpu = all(param.device.type == "cpu" for param in model.parameters())
    if not on_cpu or model.config.expert_format != "mxfp4":
        raise ConfigError(
            f"cpu_activations={config.cpu_activations!r} is for experts in MXFP4 on the CPU; "
            "leave it out for this model"
        )
    return True


def round_to_fp8(config: EngineConfig, model: CausalLM) -> None:
    """Round the matrices to 8-bit floats that are to be, before others are brought into order."""
    parts = set() if config.fp8_weights == "none" else set(config.fp8_weights.split(","))
    if more := rounded_parts(model) - parts:
        raise ConfigError(
            f"fp8_weights={config.fp8_weights!r}, but another engine has rounded this model's "
            f"{' and '.join(sorted(more))} to 8-bit floats; load it anew"
        )
    if not parts:
        return
    if (reason := why_not_fp8(model, parts)) is not None:
        raise ConfigError(
            f"fp8_weights={config.fp8_weights!r}: this model or machine {reason}; leave it out"
        )
    round_weights(model, parts)


def choose_prefill(config: EngineConfig, model: CausalLM) -> None:
    """Copies in 8-bit floats if prompts are to be computed with them; engines that want none make no use of them."""
    if not config.fp8_prefill:
        return
    if (reason := why_no_copies(model)) is not None:
        raise ConfigError(f"fp8_prefill: this model or machine {reason}; leave it out")
    add_copies(model)


def check_prefill(config: EngineConfig, limits: StepLimits) -> None:
    """Whether any pass can be of as many tokens as the copies are for."""
    if config.fp8_prefill and limits.max_batch_tokens < MANY_TOKENS:
        raise ConfigError(
            f"fp8_prefill is for passes of {MANY_TOKENS} tokens and more, but max_batch_tokens is "
            f"{limits.max_batch_tokens}; raise it, or leave fp8_prefill out"
        )


def choose_weights(config: EngineConfig, model: CausalLM, *, int8_activations: bool) -> None:
    """Round the model's matrices to 8 bits if that is asked for."""
    reason = why_not_quantized(model)
    if config.cpu_weights == "bf16" or (config.cpu_weights == "auto" and reason is not None):
        if is_quantized(model):
            raise ConfigError(
                "cpu_weights='bf16', but another engine has rounded this model's weights to 8 bits; "
                "load it anew"
            )
        return
    if reason is not None:
        raise ConfigError(f"cpu_weights='int8': this model or machine {reason}; leave it out")
    if config.cpu_weights == "auto" and not is_quantized(model):
        if not _is_short_of_memory(model):
            return
        _log.warning(
            "memory is short: weights of attention and the unembedding are rounded to int8"
        )
    quantize_weights(model, int8_activations=int8_activations)


def _is_short_of_memory(model: CausalLM) -> bool:
    """Whether little is left beside a model's weights, on the CPU."""
    weights = sum(param.nbytes for param in model.parameters())
    return machine_memory()[0].total_bytes < _ROOM * weights
