"""What the settings of a call are, once everything that was left unset has a value.

For each field, the first of these that says something:

1. the keyword arguments of `generate` (None there means unset, even where 2 or 3 say something),
2. the `generation_config` argument,
3. `model.generation_config`, which comes from the checkpoint's generation_config.json,
4. `DEFAULTS`: transformers' defaults, with OpenAI's recommendation for gpt-oss in sampling:
   temperature 1, top_p 1 and every token (transformers would keep the 50 most likely).

Three things follow from several fields:

- `do_sample` that nobody sets is False, as in transformers, unless 1 or 2 ask for sampling by
  another field, such as temperature=0.7.
- temperature 0 means do_sample=False.
- A length limit of 1 goes before a limit of 2, that before one of 3, whichever of `max_length` and
  `max_new_tokens` it is. Without any, 20 tokens are drawn, as in transformers; the log says so.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ossia.api.generation.config import FIELD_NAMES, GenerationConfig
from ossia.api.generation.field_rules import AS_DYNAMIC, sampling_fields_set
from ossia.errors import RequestError
from ossia.log import logger, warn_once

_log = logger(__name__)

DEFAULTS: dict[str, Any] = {
    "min_length": 0,
    "early_stopping": False,
    "do_sample": False,
    "num_beams": 1,
    "use_cache": True,
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "renormalize_logits": False,
    "remove_invalid_values": False,
    "num_return_sequences": 1,
    "output_attentions": False,
    "output_hidden_states": False,
    "output_scores": False,
    "output_logits": False,
    "output_router_logits": False,
    "return_dict_in_generate": False,
    "num_assistant_tokens": 20,
    "num_assistant_tokens_schedule": "constant",
    "assistant_confidence_threshold": 0.4,
    "max_matching_ngram_size": 2,
}
DEFAULT_NEW_TOKENS = 20

_PAIRS = (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens"))


def resolve(
    given: Any,
    of_model: GenerationConfig,
    kwargs: dict[str, Any],
) -> tuple[GenerationConfig, dict[str, Any]]:
    """The settings of a call; see above.

    Args:
        given: The `generation_config` argument; transformers' own class will do.
        of_model: The model's; not changed.
        kwargs: The keyword arguments.

    Returns:
        A new config in which everything of DEFAULTS is set, and the kwargs that are no settings.

    Raises:
        RequestError: a value is refused; names the field.
    """
    named = {name: _plain(value) for name, value in kwargs.items() if name in FIELD_NAMES}
    rest = {name: value for name, value in kwargs.items() if name not in FIELD_NAMES}
    layers = [named, _set_fields(as_config(given)), _set_fields(of_model)]
    asked = layers[1] | named
    values: dict[str, Any] = {}
    for layer in layers:
        _drop_twins(values, layer)
        values = layer | values
    if values.get("do_sample") is None and sampling_fields_set(asked):
        values["do_sample"] = True
    values = {name: value for name, value in values.items() if value is not None}
    config = GenerationConfig(**(DEFAULTS | values))
    if config.do_sample and config.temperature == 0:
        config.do_sample, config.temperature = False, 1.0
    if config.cache_implementation in AS_DYNAMIC:
        warn_once(_log, f"cache_implementation={config.cache_implementation!r} runs as 'dynamic'")
        config.cache_implementation = "dynamic"
    _check_together(config)
    return config, rest


def as_config(given: Any) -> GenerationConfig:
    """The `generation_config` argument as one of ours.

    Raises:
        RequestError: it is no configuration.
    """
    if given is None:
        return GenerationConfig()
    if isinstance(given, GenerationConfig):
        return given
    entries = given if isinstance(given, dict) else getattr(given, "to_dict", lambda: None)()
    if not isinstance(entries, dict):
        raise RequestError(
            f"{type(given).__name__} is no GenerationConfig", field="generation_config"
        )
    return GenerationConfig.from_dict(
        {name: value for name, value in entries.items() if value is not None}
    )


def new_token_limit(config: GenerationConfig, prompt_len: int, max_positions: int | None) -> int:
    """How many tokens a call may add.

    Args:
        config: Resolved.
        prompt_len: Tokens or embeddings of the prompt, padding included.
        max_positions: The model's context length; limits only what nobody has set.

    Raises:
        RequestError: the prompt alone reaches `max_length`.
    """
    if config.max_new_tokens is not None:
        return config.max_new_tokens
    if config.max_length is not None:
        if prompt_len >= config.max_length:
            raise RequestError(
                f"the prompt's {prompt_len} tokens reach {config.max_length}; set max_new_tokens",
                field="max_length",
            )
        return config.max_length - prompt_len
    warn_once(
        _log,
        f"nobody set max_new_tokens, so {DEFAULT_NEW_TOKENS} tokens are drawn; set it for more",
    )
    room = DEFAULT_NEW_TOKENS if max_positions is None else max_positions - prompt_len
    return max(1, min(DEFAULT_NEW_TOKENS, room))


def _set_fields(config: GenerationConfig) -> dict[str, Any]:
    values = {one.name: getattr(config, one.name) for one in fields(config)}
    del values["_others"]
    return {name: value for name, value in values.items() if value is not None}


def _drop_twins(values: dict[str, Any], layer: dict[str, Any]) -> None:
    """Where a limit is decided, the layer has no say by the other limit of the pair."""
    for pair in _PAIRS:
        if any(values.get(name) is not None for name in pair):
            for name in pair:
                layer.pop(name, None)


def _check_together(config: GenerationConfig) -> None:
    """What depends on the resolved values."""
    if config.num_return_sequences != 1 and config.num_beams == 1 and not config.do_sample:
        raise RequestError(
            f"{config.num_return_sequences} greedy continuations would be equal; set "
            "do_sample=True or num_beams",
            field="num_return_sequences",
        )
    if config.cache_implementation is not None and not config.use_cache:
        raise RequestError("contradicts use_cache=False; keep one", field="cache_implementation")


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value
