"""Every argument of transformers' `generate` and every setting: supported, or refused and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ossia.api.argument_table import ArgumentTable, Refusal, refuse, refuse_unknown
from ossia.api.generation.field_rules import REFUSED

_ENGINE = "test_on_engine.py::test_"
_PARITY = "test_parity.py::test_"
_CONFIG = "test_resolving.py::test_"
_ASSISTED = "test_assisted.py::test_"

_ARGUMENTS: dict[str, str] = {
    "inputs": "test_prompt.py::test_all_forms_of_one_prompt_give_the_same",
    "input_ids": "test_prompt.py::test_all_forms_of_one_prompt_give_the_same",
    "attention_mask": "test_prompt.py::test_masks_with_holes_and_padding_behind",
    "position_ids": "test_prompt.py::test_positions_of_the_callers_own",
    "inputs_embeds": f"{_PARITY}prompts_of_embeddings",
    "past_key_values": "test_prompt.py::test_a_cache_is_used_again",
    "tokenizer": f"{_PARITY}stop_strings_end_where_transformers_ends",
    "generation_config": f"{_CONFIG}transformers_own_class_and_dicts_will_do",
    "logits_processor": f"{_PARITY}classes_of_transformers_work_as_they_are",
    "stopping_criteria": f"{_PARITY}classes_of_transformers_work_as_they_are",
    "prefix_allowed_tokens_fn": "test_arguments.py::test_prefixes",
    "synced_gpus": "test_arguments.py::test_processes_wait_for_each_other",
    "assistant_model": f"{_ASSISTED}greedy_ids_do_not_change",
    "streamer": f"{_ENGINE}streams_give_the_prompt_and_then_each_token",
}
_REFUSED_ARGUMENTS = {
    "negative_prompt_ids": Refusal("run both prompts yourself in a LogitsProcessor"),
    "negative_prompt_attention_mask": Refusal("run both prompts yourself in a LogitsProcessor"),
    "custom_generate": Refusal("call the function yourself, with the model as its argument"),
    "trust_remote_code": Refusal("no code is loaded from the hub; leave it out", (False,)),
    "assistant_tokenizer": Refusal("all gpt-oss models share one tokenizer; leave it out"),
    "labels": Refusal("there is no loss here; call the model itself for one"),
    "cache_position": Refusal("follows from past_key_values; leave it out"),
    "logits_to_keep": Refusal("is chosen by generate; leave it out"),
    "token_type_ids": Refusal("gpt-oss has none; leave it out"),
}
"""Of `generate` and of forward passes."""

_SETTINGS: dict[str, str] = {
    "max_length": f"{_CONFIG}limits",
    "max_new_tokens": f"{_CONFIG}limits",
    "min_length": f"{_PARITY}greedy",
    "min_new_tokens": f"{_PARITY}greedy",
    "early_stopping": f"{_PARITY}beam_search",
    "max_time": f"{_ENGINE}time_runs_out_behind_a_token",
    "stop_strings": f"{_PARITY}stop_strings_end_where_transformers_ends",
    "do_sample": f"{_PARITY}sampling_on_the_module_draws_what_transformers_draws",
    "num_beams": f"{_PARITY}beam_search",
    "use_cache": f"{_PARITY}greedy",
    "cache_implementation": f"{_ENGINE}the_engine_is_taken_wherever_it_can",
    "temperature": f"{_PARITY}sampling_on_the_module_draws_what_transformers_draws",
    "top_k": f"{_PARITY}sampling_on_the_module_draws_what_transformers_draws",
    "top_p": f"{_PARITY}sampling_on_the_module_draws_what_transformers_draws",
    "min_p": f"{_PARITY}sampling_on_the_module_draws_what_transformers_draws",
    "top_h": f"{_PARITY}sampling_on_the_module_draws_what_transformers_draws",
    "typical_p": f"{_PARITY}sampling_on_the_module_draws_what_transformers_draws",
    "epsilon_cutoff": f"{_PARITY}sampling_on_the_module_draws_what_transformers_draws",
    "eta_cutoff": f"{_PARITY}sampling_on_the_module_draws_what_transformers_draws",
    "repetition_penalty": f"{_PARITY}greedy",
    "length_penalty": f"{_PARITY}beam_search",
    "no_repeat_ngram_size": f"{_PARITY}greedy",
    "bad_words_ids": f"{_PARITY}greedy",
    "renormalize_logits": f"{_PARITY}greedy",
    "forced_bos_token_id": "test_arguments.py::test_forced_first_tokens",
    "forced_eos_token_id": f"{_PARITY}greedy",
    "remove_invalid_values": f"{_PARITY}greedy",
    "exponential_decay_length_penalty": f"{_PARITY}greedy",
    "suppress_tokens": f"{_PARITY}greedy",
    "begin_suppress_tokens": f"{_PARITY}greedy",
    "sequence_bias": f"{_PARITY}greedy",
    "num_return_sequences": f"{_PARITY}beam_search",
    "output_attentions": f"{_PARITY}everything_that_can_be_returned",
    "output_hidden_states": f"{_PARITY}everything_that_can_be_returned",
    "output_scores": f"{_PARITY}everything_that_can_be_returned",
    "output_logits": f"{_PARITY}everything_that_can_be_returned",
    "output_router_logits": f"{_ASSISTED}all_that_is_returned_is_what_greedy_decoding_returns",
    "return_dict_in_generate": f"{_PARITY}types_and_fields_over_a_grid",
    "pad_token_id": f"{_PARITY}greedy",
    "bos_token_id": "test_prompt.py::test_without_a_prompt_the_first_token_is_bos",
    "eos_token_id": f"{_PARITY}greedy",
    "num_assistant_tokens": f"{_ASSISTED}greedy_ids_do_not_change",
    "num_assistant_tokens_schedule": f"{_ASSISTED}lengths_of_proposals_follow_success_and_stay",
    "assistant_confidence_threshold": f"{_ASSISTED}greedy_ids_do_not_change",
    "prompt_lookup_num_tokens": f"{_ASSISTED}greedy_ids_do_not_change",
    "max_matching_ngram_size": f"{_ASSISTED}lookup_finds_the_longest_match_first",
    "prefill_chunk_size": f"{_PARITY}greedy",
    "disable_compile": "test_arguments.py::test_settings_that_ask_for_nothing",
    "transformers_version": "test_config.py::test_files_are_read_by_transformers_and_back",
}

GENERATE = ArgumentTable(
    title="Arguments",
    tests="tests/api/generation",
    supported=_ARGUMENTS,
    refused=_REFUSED_ARGUMENTS,
)
SETTINGS = ArgumentTable(
    title="Settings",
    about="By name, or as fields of a `GenerationConfig`.",
    tests="tests/api/generation",
    supported=_SETTINGS,
    refused=REFUSED,
)


def check_arguments(options: Mapping[str, Any], others: Collection[str] = ()) -> None:
    """Refuse what `generate` does not take. None asks for nothing, and passes.

    Args:
        options: Arguments and settings.
        others: Names that are not of `generate` but may have been meant.

    Raises:
        RequestError: there is one; names it.
    """
    refuse(options, GENERATE.refused)
    known = GENERATE.names | SETTINGS.names
    for name, value in options.items():
        if value is not None and name not in known:
            refuse_unknown(name, "generate", known.union(others))
