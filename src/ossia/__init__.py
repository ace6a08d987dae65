"""Ossia: the runtime for OpenAI's open-weight gpt-oss models.

Public names load on first use, so that `import ossia` stays cheap and imports no torch.
"""

from __future__ import annotations

from importlib import import_module

from ossia.garbage import collector_paused

TYPE_CHECKING = False  # for type checkers it is True; importing typing takes 10 ms
if TYPE_CHECKING:
    from ossia.api.tokenizing.auto_tokenizer import AutoTokenizer as AutoTokenizer
    from ossia.api.tokenizing.batch_encoding import BatchEncoding as BatchEncoding
    from ossia.api.generation.config import GenerationConfig as GenerationConfig
    from ossia.api.generation.continuous_config import (
        ContinuousBatchingConfig as ContinuousBatchingConfig,
        GenerationOutput as GenerationOutput,
        RequestStatus as RequestStatus,
    )
    from ossia.api.generation.generate import GenerationMixin as GenerationMixin
    from ossia.api.generation.logits_processors import (
        ExponentialDecayLengthPenalty as ExponentialDecayLengthPenalty,
        ForcedBOSTokenLogitsProcessor as ForcedBOSTokenLogitsProcessor,
        ForcedEOSTokenLogitsProcessor as ForcedEOSTokenLogitsProcessor,
        InfNanRemoveLogitsProcessor as InfNanRemoveLogitsProcessor,
        LogitNormalization as LogitNormalization,
        LogitsProcessor as LogitsProcessor,
        LogitsProcessorList as LogitsProcessorList,
        MinLengthLogitsProcessor as MinLengthLogitsProcessor,
        MinNewTokensLengthLogitsProcessor as MinNewTokensLengthLogitsProcessor,
        PrefixConstrainedLogitsProcessor as PrefixConstrainedLogitsProcessor,
        SuppressTokensAtBeginLogitsProcessor as SuppressTokensAtBeginLogitsProcessor,
        SuppressTokensLogitsProcessor as SuppressTokensLogitsProcessor,
    )
    from ossia.api.generation.manager import ContinuousBatchingManager as ContinuousBatchingManager
    from ossia.api.generation.outputs import (
        GenerateBeamDecoderOnlyOutput as GenerateBeamDecoderOnlyOutput,
        GenerateDecoderOnlyOutput as GenerateDecoderOnlyOutput,
    )
    from ossia.api.generation.repetition import (
        NoRepeatNGramLogitsProcessor as NoRepeatNGramLogitsProcessor,
        RepetitionPenaltyLogitsProcessor as RepetitionPenaltyLogitsProcessor,
    )
    from ossia.api.generation.stopping_criteria import (
        EosTokenCriteria as EosTokenCriteria,
        MaxLengthCriteria as MaxLengthCriteria,
        MaxTimeCriteria as MaxTimeCriteria,
        StopStringCriteria as StopStringCriteria,
        StoppingCriteria as StoppingCriteria,
        StoppingCriteriaList as StoppingCriteriaList,
    )
    from ossia.api.generation.streamers import (
        AsyncTextIteratorStreamer as AsyncTextIteratorStreamer,
        BaseStreamer as BaseStreamer,
        TextIteratorStreamer as TextIteratorStreamer,
        TextStreamer as TextStreamer,
    )
    from ossia.api.generation.token_bias import (
        NoBadWordsLogitsProcessor as NoBadWordsLogitsProcessor,
        SequenceBiasLogitsProcessor as SequenceBiasLogitsProcessor,
    )
    from ossia.api.generation.warpers import (
        EpsilonLogitsWarper as EpsilonLogitsWarper,
        EtaLogitsWarper as EtaLogitsWarper,
        MinPLogitsWarper as MinPLogitsWarper,
        TemperatureLogitsWarper as TemperatureLogitsWarper,
        TopHLogitsWarper as TopHLogitsWarper,
        TopKLogitsWarper as TopKLogitsWarper,
        TopPLogitsWarper as TopPLogitsWarper,
        TypicalLogitsWarper as TypicalLogitsWarper,
    )
    from ossia.api.offline.llm import LLM as LLM
    from ossia.api.offline.llm_prompts import (
        TextPrompt as TextPrompt,
        TokensPrompt as TokensPrompt,
    )
    from ossia.api.models.auto import (
        AutoConfig as AutoConfig,
        AutoModel as AutoModel,
        AutoModelForCausalLM as AutoModelForCausalLM,
        AutoModelForSequenceClassification as AutoModelForSequenceClassification,
        AutoModelForTokenClassification as AutoModelForTokenClassification,
    )
    from ossia.api.models.cache import DynamicCache as DynamicCache
    from ossia.api.models.causal_lm import GptOssForCausalLM as GptOssForCausalLM
    from ossia.api.models.config import GptOssConfig as GptOssConfig
    from ossia.api.models.gpt_oss_model import GptOssModel as GptOssModel
    from ossia.api.models.quantization import Mxfp4Config as Mxfp4Config
    from ossia.api.models.sequence_classification import (
        GptOssForSequenceClassification as GptOssForSequenceClassification,
    )
    from ossia.api.models.token_classification import (
        GptOssForTokenClassification as GptOssForTokenClassification,
    )
    from ossia.api.pipelines.base import Pipeline as Pipeline
    from ossia.api.pipelines.factory import pipeline as pipeline
    from ossia.api.pipelines.text_classification import (
        TextClassificationPipeline as TextClassificationPipeline,
    )
    from ossia.api.pipelines.text_generation import TextGenerationPipeline as TextGenerationPipeline
    from ossia.api.pipelines.token_classification import (
        TokenClassificationPipeline as TokenClassificationPipeline,
    )
    from ossia.api.tokenizing.pretrained_tokenizer import PreTrainedTokenizer as PreTrainedTokenizer
    from ossia.api.offline.request_output import (
        CompletionOutput as CompletionOutput,
        RequestOutput as RequestOutput,
    )
    from ossia.api.offline.sampling_params import SamplingParams as SamplingParams
    from ossia.api.offline.structured_outputs import (
        StructuredOutputsParams as StructuredOutputsParams,
    )
    from ossia.config import ModelConfig as ModelConfig

__version__ = "0.1.0"

_HOMES = {
    "AsyncTextIteratorStreamer": "ossia.api.generation.streamers",
    "AutoConfig": "ossia.api.models.auto",
    "AutoModel": "ossia.api.models.auto",
    "AutoModelForCausalLM": "ossia.api.models.auto",
    "AutoModelForSequenceClassification": "ossia.api.models.auto",
    "AutoModelForTokenClassification": "ossia.api.models.auto",
    "AutoTokenizer": "ossia.api.tokenizing.auto_tokenizer",
    "BaseStreamer": "ossia.api.generation.streamers",
    "BatchEncoding": "ossia.api.tokenizing.batch_encoding",
    "CompletionOutput": "ossia.api.offline.request_output",
    "ContinuousBatchingConfig": "ossia.api.generation.continuous_config",
    "ContinuousBatchingManager": "ossia.api.generation.manager",
    "DynamicCache": "ossia.api.models.cache",
    "EosTokenCriteria": "ossia.api.generation.stopping_criteria",
    "EpsilonLogitsWarper": "ossia.api.generation.warpers",
    "EtaLogitsWarper": "ossia.api.generation.warpers",
    "ExponentialDecayLengthPenalty": "ossia.api.generation.logits_processors",
    "ForcedBOSTokenLogitsProcessor": "ossia.api.generation.logits_processors",
    "ForcedEOSTokenLogitsProcessor": "ossia.api.generation.logits_processors",
    "GenerateBeamDecoderOnlyOutput": "ossia.api.generation.outputs",
    "GenerateDecoderOnlyOutput": "ossia.api.generation.outputs",
    "GenerationConfig": "ossia.api.generation.config",
    "GenerationMixin": "ossia.api.generation.generate",
    "GenerationOutput": "ossia.api.generation.continuous_config",
    "GptOssConfig": "ossia.api.models.config",
    "GptOssForCausalLM": "ossia.api.models.causal_lm",
    "GptOssForSequenceClassification": "ossia.api.models.sequence_classification",
    "GptOssForTokenClassification": "ossia.api.models.token_classification",
    "GptOssModel": "ossia.api.models.gpt_oss_model",
    "InfNanRemoveLogitsProcessor": "ossia.api.generation.logits_processors",
    "LLM": "ossia.api.offline.llm",
    "LogitNormalization": "ossia.api.generation.logits_processors",
    "LogitsProcessor": "ossia.api.generation.logits_processors",
    "LogitsProcessorList": "ossia.api.generation.logits_processors",
    "MaxLengthCriteria": "ossia.api.generation.stopping_criteria",
    "MaxTimeCriteria": "ossia.api.generation.stopping_criteria",
    "MinLengthLogitsProcessor": "ossia.api.generation.logits_processors",
    "MinNewTokensLengthLogitsProcessor": "ossia.api.generation.logits_processors",
    "MinPLogitsWarper": "ossia.api.generation.warpers",
    "ModelConfig": "ossia.config",
    "Mxfp4Config": "ossia.api.models.quantization",
    "NoBadWordsLogitsProcessor": "ossia.api.generation.token_bias",
    "NoRepeatNGramLogitsProcessor": "ossia.api.generation.repetition",
    "Pipeline": "ossia.api.pipelines.base",
    "PreTrainedTokenizer": "ossia.api.tokenizing.pretrained_tokenizer",
    "PrefixConstrainedLogitsProcessor": "ossia.api.generation.logits_processors",
    "RepetitionPenaltyLogitsProcessor": "ossia.api.generation.repetition",
    "RequestOutput": "ossia.api.offline.request_output",
    "RequestStatus": "ossia.api.generation.continuous_config",
    "SamplingParams": "ossia.api.offline.sampling_params",
    "StructuredOutputsParams": "ossia.api.offline.structured_outputs",
    "SequenceBiasLogitsProcessor": "ossia.api.generation.token_bias",
    "StopStringCriteria": "ossia.api.generation.stopping_criteria",
    "StoppingCriteria": "ossia.api.generation.stopping_criteria",
    "StoppingCriteriaList": "ossia.api.generation.stopping_criteria",
    "SuppressTokensAtBeginLogitsProcessor": "ossia.api.generation.logits_processors",
    "SuppressTokensLogitsProcessor": "ossia.api.generation.logits_processors",
    "TemperatureLogitsWarper": "ossia.api.generation.warpers",
    "TextClassificationPipeline": "ossia.api.pipelines.text_classification",
    "TextGenerationPipeline": "ossia.api.pipelines.text_generation",
    "TextIteratorStreamer": "ossia.api.generation.streamers",
    "TextPrompt": "ossia.api.offline.llm_prompts",
    "TextStreamer": "ossia.api.generation.streamers",
    "TokenClassificationPipeline": "ossia.api.pipelines.token_classification",
    "TokensPrompt": "ossia.api.offline.llm_prompts",
    "TopHLogitsWarper": "ossia.api.generation.warpers",
    "TopKLogitsWarper": "ossia.api.generation.warpers",
    "TopPLogitsWarper": "ossia.api.generation.warpers",
    "TypicalLogitsWarper": "ossia.api.generation.warpers",
    "pipeline": "ossia.api.pipelines.factory",
}
__all__ = [
    "LLM",
    "AsyncTextIteratorStreamer",
    "AutoConfig",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "BaseStreamer",
    "BatchEncoding",
    "CompletionOutput",
    "ContinuousBatchingConfig",
    "ContinuousBatchingManager",
    "DynamicCache",
    "EosTokenCriteria",
    "EpsilonLogitsWarper",
    "EtaLogitsWarper",
    "ExponentialDecayLengthPenalty",
    "ForcedBOSTokenLogitsProcessor",
    "ForcedEOSTokenLogitsProcessor",
    "GenerateBeamDecoderOnlyOutput",
    "GenerateDecoderOnlyOutput",
    "GenerationConfig",
    "GenerationMixin",
    "GenerationOutput",
    "GptOssConfig",
    "GptOssForCausalLM",
    "GptOssForSequenceClassification",
    "GptOssForTokenClassification",
    "GptOssModel",
    "InfNanRemoveLogitsProcessor",
    "LogitNormalization",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MaxLengthCriteria",
    "MaxTimeCriteria",
    "MinLengthLogitsProcessor",
    "MinNewTokensLengthLogitsProcessor",
    "MinPLogitsWarper",
    "ModelConfig",
    "Mxfp4Config",
    "NoBadWordsLogitsProcessor",
    "NoRepeatNGramLogitsProcessor",
    "Pipeline",
    "PreTrainedTokenizer",
    "PrefixConstrainedLogitsProcessor",
    "RepetitionPenaltyLogitsProcessor",
    "RequestOutput",
    "RequestStatus",
    "SamplingParams",
    "SequenceBiasLogitsProcessor",
    "StopStringCriteria",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "StructuredOutputsParams",
    "SuppressTokensAtBeginLogitsProcessor",
    "SuppressTokensLogitsProcessor",
    "TemperatureLogitsWarper",
    "TextClassificationPipeline",
    "TextGenerationPipeline",
    "TextIteratorStreamer",
    "TextPrompt",
    "TextStreamer",
    "TokenClassificationPipeline",
    "TokensPrompt",
    "TopHLogitsWarper",
    "TopKLogitsWarper",
    "TopPLogitsWarper",
    "TypicalLogitsWarper",
    "__version__",
    "pipeline",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ossia' has no attribute {name!r}")
    with collector_paused():
        return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
