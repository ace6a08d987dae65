"""Ossia: the runtime for OpenAI's open-weight gpt-oss models.

Public names load on first use, so that `import ossia` stays cheap and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ossia.api.auto_tokenizer import AutoTokenizer as AutoTokenizer
    from ossia.api.batch_encoding import BatchEncoding as BatchEncoding
    from ossia.api.models.cache import DynamicCache as DynamicCache
    from ossia.api.models.causal_lm import GptOssForCausalLM as GptOssForCausalLM
    from ossia.api.models.config import GptOssConfig as GptOssConfig
    from ossia.api.models.gpt_oss_model import GptOssModel as GptOssModel
    from ossia.config import ModelConfig as ModelConfig
    from ossia.types import SamplingParams as SamplingParams

__version__ = "0.1.0"

_HOMES = {
    "AutoTokenizer": "ossia.api.auto_tokenizer",
    "BatchEncoding": "ossia.api.batch_encoding",
    "DynamicCache": "ossia.api.models.cache",
    "GptOssConfig": "ossia.api.models.config",
    "GptOssForCausalLM": "ossia.api.models.causal_lm",
    "GptOssModel": "ossia.api.models.gpt_oss_model",
    "ModelConfig": "ossia.config",
    "SamplingParams": "ossia.types",
}
__all__ = [
    "AutoTokenizer",
    "BatchEncoding",
    "DynamicCache",
    "GptOssConfig",
    "GptOssForCausalLM",
    "GptOssModel",
    "ModelConfig",
    "SamplingParams",
    "__version__",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ossia' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
