"""What a GptOssConfig holds unless told otherwise: the defaults of transformers 5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULTS: Mapping[str, Any] = {
    "architectures": None,
    "attention_bias": True,
    "attention_dropout": 0.0,
    "bos_token_id": None,
    "classifier_dropout": 0.1,  # of the token classifier
    "dtype": None,
    "eos_token_id": None,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2880,
    "initializer_range": 0.02,
    "intermediate_size": 2880,
    "layer_types": None,
    "max_position_embeddings": 131_072,
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "num_local_experts": 128,
    "output_attentions": False,
    "output_hidden_states": False,
    "output_router_logits": False,
    "pad_token_id": None,
    "problem_type": None,
    "quantization_config": None,
    "return_dict": True,
    "rms_norm_eps": 1e-5,
    "router_aux_loss_coef": 0.001,
    "sliding_window": 128,
    "swiglu_alpha": 1.702,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "use_cache": True,
    "vocab_size": 201_088,
}

ALIASES: Mapping[str, str] = {
    "experts_per_token": "num_experts_per_tok",
    "num_experts": "num_local_experts",
    "torch_dtype": "dtype",
}

ROPE_KEYS = ("rope_parameters", "rope_scaling", "rope_theta")
LABEL_KEYS = ("id2label", "label2id", "num_labels")

# Keys that say nothing a gpt-oss model could do otherwise; they are kept and written back.
KNOWN_EXTRAS = (
    "_attn_implementation",
    "_name_or_path",
    "chunk_size_feed_forward",
    "initial_context_length",
    "is_encoder_decoder",
    "model_type",
    "name_or_path",
    "transformers_version",
)

SETTINGS = frozenset({*DEFAULTS, *ALIASES, *ROPE_KEYS, *LABEL_KEYS, *KNOWN_EXTRAS})
"""Every key that may be given by name."""
