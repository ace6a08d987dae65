"""LLMOptions: vLLM's arguments for an engine, translated or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ossia.engine.config import EngineConfig
from ossia.errors import RequestError
from ossia.log import logger
from ossia.tokenizer import special

_log = logger(__name__)

# vLLM's name -> the engine's
_ENGINE_FIELDS = {
    "max_model_len": "max_context",
    "max_num_seqs": "max_sequences",
    "max_num_batched_tokens": "max_batch_tokens",
    "enable_prefix_caching": "prefix_reuse",
    "block_size": "page_size",
    "kv_cache_dtype": "kv_dtype",
    "kv_cache_memory_bytes": "kv_cache_bytes",
    "num_gpu_blocks_override": "num_pages",
    "long_prefill_token_threshold": "prefill_chunk",
    # Ossia's own
    "cpu_activations": "cpu_activations",
    "cpu_weights": "cpu_weights",
    "deterministic": "deterministic",
    "fp8_prefill": "fp8_prefill",
    "fp8_weights": "fp8_weights",
}
# What makes no difference to what is computed: accepted with any value.
_NO_DIFFERENCE = frozenset(
    {
        "allowed_local_media_path",
        "allowed_media_domains",
        "async_scheduling",
        "compilation_config",
        "config_format",
        "disable_cascade_attn",
        "disable_custom_all_reduce",
        "disable_log_stats",
        "enforce_eager",
        "load_format",
        "served_model_name",
        "swap_space",
        "tokenizer_mode",
        "trust_remote_code",
        "use_tqdm_on_load",
    }
)
# The values that say what is done anyway; others are refused with the advice.
_FIXED: dict[str, tuple[tuple[object, ...], str]] = {
    "tensor_parallel_size": ((1,), "one device is used; leave it out"),
    "pipeline_parallel_size": ((1,), "one device is used; leave it out"),
    "data_parallel_size": ((1,), "one device is used; leave it out"),
    "enable_expert_parallel": ((False, None), "one device is used; leave it out"),
    "distributed_executor_backend": ((None,), "one device is used; leave it out"),
    "runner": (("auto", "generate"), "use pipeline for classification"),
    "convert": (("auto", "none"), "use pipeline for classification"),
    "task": (("auto", "generate", None), "use pipeline for classification"),
    "skip_tokenizer_init": ((False,), "the tokenizer is always there"),
    "quantization": ((None, "mxfp4"), "MXFP4 experts stay packed by themselves"),
    "cpu_offload_gb": ((0,), "not supported; take a smaller model or device='cpu'"),
    "enable_chunked_prefill": ((True, None), "prompts are always computed in chunks"),
    "hf_overrides": ((None, {}), "change the checkpoint's config.json"),
    "enable_lora": ((False, None), "merge the adapter into the weights first"),
    "speculative_config": ((None,), "not supported yet; leave it out"),
    "structured_outputs_config": ((None,), "not supported yet; leave it out"),
    "guided_decoding_backend": ((None, "auto"), "not supported yet; leave it out"),
    "logits_processors": ((None, []), "use GptOssForCausalLM.generate, which takes them"),
    "pooler_config": ((None,), "use pipeline for classification"),
    "override_pooler_config": ((None,), "use pipeline for classification"),
    "mm_processor_kwargs": ((None,), "gpt-oss reads text alone"),
    "limit_mm_per_prompt": ((None, {}), "gpt-oss reads text alone"),
    "enable_prompt_embeds": ((False, None), "give prompts as text or ids"),
    "reasoning_parser": ((None, "", "openai_gptoss"), "harmony is read by itself"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMOptions:
    """What an `LLM` is to be like.

    Args:
        engine: The engine's limits.
        gpu_memory_utilization: Share of the GPU's memory for weights and KV cache.
        generation_config: "auto" takes sampling defaults from the checkpoint, "vllm" none.
    """

    engine: EngineConfig = field(default_factory=EngineConfig)
    gpu_memory_utilization: float = 0.9
    generation_config: str = "auto"

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> LLMOptions:
        """Read vLLM's arguments.

        Raises:
            RequestError: one is unknown, or asks for what is not supported; names it.
            ConfigError: the engine's limits contradict each other.
        """
        limits: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for name, value in arguments.items():
            if name in _ENGINE_FIELDS:
                if value is not None:
                    limits[_ENGINE_FIELDS[name]] = value
            elif name in ("gpu_memory_utilization", "generation_config"):
                own[name] = value
            elif name in _FIXED:
                _check_fixed(name, value)
            elif name in _NO_DIFFERENCE:
                _log.debug("%s makes no difference here", name)
            else:
                raise RequestError("is no argument of an LLM; see help(ossia.LLM)", field=name)
        share = own.get("gpu_memory_utilization", 0.9)
        if not (isinstance(share, int | float) and 0 < share <= 1):
            raise RequestError(f"{share!r} is not between 0 and 1", field="gpu_memory_utilization")
        if own.get("generation_config", "auto") not in ("auto", "vllm"):
            raise RequestError("is neither auto nor vllm", field="generation_config")
        return cls(engine=EngineConfig(**limits), **own)

    def with_cache_for(self, device: torch.device, vocab_size: int) -> EngineConfig:
        """The engine's limits once the weights are on the device.

        Args:
            device: Where they are.
            vocab_size: Rows of the vocabulary; those without a token are never drawn.

        Raises:
            RequestError: the share of the memory holds no more than the weights.
        """
        known = self.engine.kv_cache_bytes is not None or self.engine.num_pages is not None
        named = replace(self.engine, valid_token_ids_end=min(special.LAST_LISTED + 1, vocab_size))
        if device.type != "cuda" or known:
            return named
        free, total = torch.cuda.mem_get_info(device)
        left = int(total * self.gpu_memory_utilization) - (total - free)
        if left <= 0:
            raise RequestError(
                f"{self.gpu_memory_utilization} of {total / 1e9:.1f} GB leave nothing for the KV "
                f"cache, {(total - free) / 1e9:.1f} GB being in use; raise it",
                field="gpu_memory_utilization",
            )
        return replace(named, kv_cache_bytes=left)


def _check_fixed(name: str, value: object) -> None:
    values, advice = _FIXED[name]
    if value not in values:
        raise RequestError(f"{value!r} is not supported; {advice}", field=name)
