"""LLMOptions: vLLM's arguments for an engine, translated or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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


_USUAL_SHARE = 0.9  # of the GPU's memory, as vLLM has it


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMOptions:
    """What an `LLM` is to be like.

    Args:
        engine: The engine's limits.
        generation_config: "auto" takes sampling defaults from the checkpoint, "vllm" none.
    """

    engine: EngineConfig = field(default_factory=EngineConfig)
    generation_config: str = "auto"

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> LLMOptions:
        """Read vLLM's arguments.

        Raises:
            RequestError: one is unknown, or asks for what is not supported; names it.
            ConfigError: the engine's limits contradict each other.
        """
        rest = dict(arguments)
        share = rest.pop("gpu_memory_utilization", _USUAL_SHARE)
        if not (isinstance(share, int | float) and 0 < share <= 1):
            raise RequestError(f"{share!r} is not between 0 and 1", field="gpu_memory_utilization")
        defaults = rest.pop("generation_config", "auto")
        if defaults not in ("auto", "vllm"):
            raise RequestError("is neither auto nor vllm", field="generation_config")
        limits: dict[str, Any] = {"cuda_graphs": not rest.pop("enforce_eager", False)}
        for name, value in rest.items():
            if name in _ENGINE_FIELDS:
                if value is not None:
                    limits[_ENGINE_FIELDS[name]] = value
            elif name in _FIXED:
                _check_fixed(name, value)
            elif name in _NO_DIFFERENCE:
                _log.debug("%s makes no difference here", name)
            else:
                raise RequestError("is no argument of an LLM; see help(ossia.LLM)", field=name)
        if not limits.keys() & {"kv_cache_bytes", "num_pages"}:
            limits["memory_share"] = share
        return cls(engine=EngineConfig(**limits), generation_config=defaults)

    def engine_for(self, vocab_size: int) -> EngineConfig:
        """The engine's limits for a model.

        Args:
            vocab_size: Rows of the vocabulary; those without a token are never drawn.
        """
        return replace(self.engine, valid_token_ids_end=min(special.LAST_LISTED + 1, vocab_size))


def _check_fixed(name: str, value: object) -> None:
    values, advice = _FIXED[name]
    if value not in values:
        raise RequestError(f"{value!r} is not supported; {advice}", field=name)
