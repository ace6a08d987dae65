"""Which values the fields of a GenerationConfig may have, and what goes together."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Collection, Iterable
from typing import Any

from ossia.api.argument_table import Refusal, refuse
from ossia.errors import RequestError
from ossia.log import logger, warn_once

_log = logger(__name__)

REFUSED: dict[str, Refusal] = {
    "assistant_early_exit": Refusal("pass a smaller model as assistant_model="),
    "assistant_ensemble_weight": Refusal("leave it out: assisted generation here is lossless"),
    "assistant_lookbehind": Refusal("leave it out: all gpt-oss models share one tokenizer", (10,)),
    "cache_config": Refusal("leave it out: the cache grows as needed"),
    "compile_config": Refusal("compile the module yourself: model.forward = torch.compile(...)"),
    "constraints": Refusal("restrict tokens with prefix_allowed_tokens_fn="),
    "continuous_batching_config": Refusal("pass it to generate_batch()"),
    "decoder_start_token_id": Refusal("leave it out: gpt-oss has no encoder"),
    "diversity_penalty": Refusal("sample with num_return_sequences= instead", (0.0,)),
    "dola_layers": Refusal("leave it out: DoLa is not supported"),
    "encoder_no_repeat_ngram_size": Refusal("use no_repeat_ngram_size: there is no encoder", (0,)),
    "encoder_repetition_penalty": Refusal("use repetition_penalty: there is no encoder", (1.0,)),
    "force_words_ids": Refusal("restrict tokens with prefix_allowed_tokens_fn="),
    "guidance_scale": Refusal("run both prompts yourself in a LogitsProcessor", (1.0,)),
    "is_assistant": Refusal("pass the model as assistant_model= to another's generate", (False,)),
    "low_memory": Refusal("lower num_beams or the batch size", (False,)),
    "max_cache_len": Refusal("leave it out: the cache grows as needed"),
    "num_beam_groups": Refusal("use num_beams alone, or sample with num_return_sequences=", (1,)),
    "penalty_alpha": Refusal("sample with min_p or top_p instead of contrastive search", (0.0,)),
    "speculation_type": Refusal("use assistant_model= or prompt_lookup_num_tokens="),
    "target_lookbehind": Refusal("leave it out: all gpt-oss models share one tokenizer", (10,)),
    "token_healing": Refusal("end the prompt at a token boundary, without a last blank", (False,)),
    "use_mtp": Refusal("use assistant_model= or prompt_lookup_num_tokens=", (False,)),
    "watermarking_config": Refusal("write a LogitsProcessor that marks the scores"),
}
"""Field of transformers -> why it is refused."""

CACHES = ("dynamic", "paged")
AS_DYNAMIC = ("static", "hybrid", "sliding_window")
_SCHEDULES = ("constant", "heuristic", "heuristic_transient")

_RANGES: dict[str, tuple[type, float, float]] = {  # name -> kind, least, most
    "max_length": (int, 1, float("inf")),
    "max_new_tokens": (int, 1, float("inf")),
    "min_length": (int, 0, float("inf")),
    "min_new_tokens": (int, 0, float("inf")),
    "max_time": (float, 0, float("inf")),
    "num_beams": (int, 1, float("inf")),
    "temperature": (float, 0, float("inf")),
    "top_k": (int, 0, float("inf")),
    "top_p": (float, 0, 1),
    "min_p": (float, 0, 1),
    "top_h": (float, 1e-12, 1),
    "typical_p": (float, 1e-12, 1),
    "epsilon_cutoff": (float, 0, 1),
    "eta_cutoff": (float, 0, 1),
    "repetition_penalty": (float, 1e-12, float("inf")),
    "length_penalty": (float, float("-inf"), float("inf")),
    "no_repeat_ngram_size": (int, 0, float("inf")),
    "num_return_sequences": (int, 1, float("inf")),
    "num_assistant_tokens": (int, 1, float("inf")),
    "assistant_confidence_threshold": (float, 0, 1),
    "prompt_lookup_num_tokens": (int, 1, float("inf")),
    "max_matching_ngram_size": (int, 1, float("inf")),
    "prefill_chunk_size": (int, 1, float("inf")),
}

_SAMPLING_ONLY: dict[str, float] = {  # name -> value that changes nothing
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "top_h": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
_BEAMS_ONLY = {"early_stopping": False, "length_penalty": 1.0}
_OUTPUTS = (
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "output_logits",
    "output_router_logits",
)


def check_fields(config: Any, *, strict: bool) -> None:
    """Refuse a config that cannot mean anything.

    Args:
        config: A GenerationConfig.
        strict: Refuse also what has no effect; otherwise the log says so.

    Raises:
        RequestError: the message names the field.
    """
    refuse({name: getattr(config, name) for name in REFUSED}, REFUSED)
    for name, (kind, least, most) in _RANGES.items():
        _check_range(name, getattr(config, name), kind, least, most)
    _check_choices(config)
    _check_tokens(config)
    _check_counts(config)
    _check_effect(config, strict)


def sampling_fields_set(values: dict[str, Any]) -> list[str]:
    """Names among `values` that only sampling uses, with values that change something.

    Temperature 0 is none of them: it asks for greedy decoding.
    """
    return [
        name
        for name, neutral in _SAMPLING_ONLY.items()
        if values.get(name) is not None
        and values[name] != neutral
        and not (name == "temperature" and values[name] == 0)
    ]


def _check_range(name: str, value: Any, kind: type, least: float, most: float) -> None:
    if value is None:
        return
    accepted = numbers.Integral if kind is int else numbers.Real
    is_number = isinstance(value, accepted) and not isinstance(value, bool)
    if is_number and least <= float(value) <= most:
        return
    what = "an integer" if kind is int else "a number"
    bounds = f"of at least {least:g}" if most == float("inf") else f"from {least:g} to {most:g}"
    raise RequestError(f"{value!r} is not {what} {bounds}", field=name)


def _check_choices(config: Any) -> None:
    _one_of("early_stopping", config.early_stopping, (None, True, False, "never"))
    _one_of(
        "num_assistant_tokens_schedule", config.num_assistant_tokens_schedule, (None, *_SCHEDULES)
    )
    cache = config.cache_implementation
    if cache is not None and cache not in (*CACHES, *AS_DYNAMIC):
        raise RequestError(
            f"{cache!r} is not supported; leave it out, or use one of {', '.join(CACHES)}",
            field="cache_implementation",
        )
    stops = config.stop_strings
    if stops is not None and not _all_are(stops if not isinstance(stops, str) else [stops], str):
        raise RequestError(f"{stops!r} is no string and no list of strings", field="stop_strings")
    if stops is not None and (not stops or "" in ([stops] if isinstance(stops, str) else stops)):
        raise RequestError(
            "an empty string ends every text at once; leave it out", field="stop_strings"
        )


def _one_of(name: str, value: object, choices: Collection[object]) -> None:
    if not any(
        value is choice or (isinstance(value, str) and value == choice) for choice in choices
    ):
        known = ", ".join(repr(choice) for choice in choices)
        raise RequestError(f"{value!r} is not one of {known}", field=name)


def _check_tokens(config: Any) -> None:
    for name in ("pad_token_id", "bos_token_id", "forced_bos_token_id"):
        value = getattr(config, name)
        if value is not None and not _is_id(value):
            raise RequestError(f"{value!r} is no token id", field=name)
    for name in ("eos_token_id", "forced_eos_token_id"):
        value = getattr(config, name)
        if value is not None and not _is_id(value) and not (value and _all_are(value, int, _is_id)):
            raise RequestError(f"{value!r} is no token id and no list of them", field=name)
    for name in ("suppress_tokens", "begin_suppress_tokens"):
        value = getattr(config, name)
        if value is not None and not _all_are(value, int, _is_id):
            raise RequestError(f"{value!r} is no list of token ids", field=name)
    _check_forced(config)


def _check_forced(config: Any) -> None:
    """A token that is forced and ruled out leaves nothing to draw."""
    suppressed = set(config.suppress_tokens or ())
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        forced = getattr(config, name)
        ids = set() if forced is None else {forced} if _is_id(forced) else set(forced)
        if ids and ids <= suppressed:
            raise RequestError(f"{forced!r} is in suppress_tokens, too; keep one", field=name)


def _check_counts(config: Any) -> None:
    beams, sequences = config.num_beams or 1, config.num_return_sequences or 1
    if 1 < beams < sequences:
        raise RequestError(
            f"{sequences} exceeds num_beams={beams}; raise num_beams", field="num_return_sequences"
        )
    if beams == 1 and sequences > 1 and config.do_sample is False:
        raise RequestError(
            f"{sequences} greedy continuations would be equal; set do_sample=True or num_beams",
            field="num_return_sequences",
        )


def _check_effect(config: Any, strict: bool) -> None:
    """Settings that others make ineffective."""
    idle: dict[str, str] = {}
    if config.do_sample is False:
        values = {name: getattr(config, name) for name in _SAMPLING_ONLY}
        idle |= dict.fromkeys(sampling_fields_set(values), "do_sample=True")
    if config.num_beams == 1:
        for name, neutral in _BEAMS_ONLY.items():
            if getattr(config, name) not in (None, neutral):
                idle[name] = "num_beams above 1"
    if config.return_dict_in_generate is False:
        wanted = [name for name in _OUTPUTS if getattr(config, name) is True]
        idle |= dict.fromkeys(wanted, "return_dict_in_generate=True")
    for name, needed in idle.items():
        message = f"has no effect without {needed}; set that, or leave it out"
        if strict:
            raise RequestError(message, field=name)
        warn_once(_log, f"{name} {message}")


def _is_id(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 0


def _all_are(values: object, kind: type, is_good: Callable[[object], bool] | None = None) -> bool:
    if isinstance(values, str) or not isinstance(values, Iterable):
        return False
    return all(is_good(one) if is_good else isinstance(one, kind) for one in values)
