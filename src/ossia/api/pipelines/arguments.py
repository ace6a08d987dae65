"""Every argument of `pipeline` and of the calls of what it gives."""

from __future__ import annotations

from ossia.api.argument_table import ArgumentTable, Refusal

_TESTS = "tests/api/pipelines"
_FACTORY = "test_factory.py::test_"
_FORMS = f"{_FACTORY}models_and_tokenizers_come_in_every_form"
_TEXT = "test_text_generation.py::test_"
_TEXT_PARITY = f"{_TEXT}it_gives_what_transformers_gives"
_PARTED = f"{_TEXT}replies_can_be_parted"
_LABELS = "test_classification.py::test_"
_LABEL_PARITY = f"{_LABELS}shapes_and_values_are_transformers"
_TOKENIZER_OPTIONS = f"{_LABELS}options_of_the_tokenizer_go_by_both_ways"
_WORDS = f"{_LABELS}words_can_be_given"

_TEXT_ALONE = "gpt-oss reads text alone; leave it out"
_OWN_IDS = "the pipeline makes it from its input; call `model.generate` to give it yourself"

PIPELINE = ArgumentTable(
    title="Making a pipeline",
    about=(
        "What calls take may be given here, too; it then holds for all of them. What says how to\n"
        "load is refused beside a model that is an object already."
    ),
    tests=_TESTS,
    supported={
        "assistant_model": f"{_TEXT}an_assistant_changes_nothing_but_the_time",
        "batch_size": _FORMS,
        "config": f"{_FACTORY}a_config_can_be_given",
        "device": _FORMS,
        "device_map": f"{_FACTORY}what_loads_a_model_goes_through_model_kwargs",
        "dtype": f"{_FACTORY}what_loads_a_model_goes_through_model_kwargs",
        "local_files_only": _FORMS,
        "model": _FORMS,
        "model_kwargs": f"{_FACTORY}what_loads_a_model_goes_through_model_kwargs",
        "num_workers": f"{_FACTORY}workers_change_nothing",
        "revision": f"{_FACTORY}the_hub_is_asked_as_said",
        "task": _FORMS,
        "token": f"{_FACTORY}the_hub_is_asked_as_said",
        "tokenizer": _FORMS,
        "torch_dtype": _FORMS,
        "trust_remote_code": _FORMS,
    },
    refused={
        "args_parser": Refusal("give texts as they are; leave it out"),
        "assistant_tokenizer": Refusal("all gpt-oss models share one tokenizer; leave it out"),
        "binary_output": Refusal("results are Python objects; leave it out", (False,)),
        "code_revision": Refusal("no code of the hub is run; leave it out"),
        "feature_extractor": Refusal(_TEXT_ALONE),
        "framework": Refusal("there is one, 'pt'; leave it out", ("pt",)),
        "image_processor": Refusal(_TEXT_ALONE),
        "pipeline_class": Refusal("make the class itself, from a model and a tokenizer"),
        "processor": Refusal(_TEXT_ALONE),
        "use_auth_token": Refusal("call it `token`"),
        "use_fast": Refusal("there is one tokenizer, the fast one; leave it out", (True,)),
        "video_processor": Refusal(_TEXT_ALONE),
    },
)

TEXT_GENERATION = ArgumentTable(
    title="Calls of `text-generation`",
    about=(
        "Beside these, all arguments and settings of [`generate`](generate.md) that are supported\n"
        "there. `parse_harmony` and the variables of the chat template are Ossia's own."
    ),
    tests=_TESTS,
    supported={
        **dict.fromkeys(
            (
                *("add_special_tokens", "batch_size", "clean_up_tokenization_spaces"),
                *("continue_final_message", "handle_long_generation", "max_length", "padding"),
                *("prefix", "return_full_text", "return_tensors", "return_text", "return_type"),
                *("skip_special_tokens", "tokenizer_encode_kwargs", "tools", "truncation"),
            ),
            _TEXT_PARITY,
        ),
        **dict.fromkeys(
            ("builtin_tools", "model_identity", "parse_harmony", "reasoning_effort"), _PARTED
        ),
        "documents": f"{_TEXT}documents_need_a_template_that_shows_them",
        "generate_kwargs": f"{_TEXT}a_generation_config_can_be_given",
        "num_workers": f"{_FACTORY}workers_change_nothing",
        "stop_sequence": f"{_TEXT}stop_strings_end_each_row_apart",
        "text_inputs": f"{_TEXT}an_empty_text_begins_with_the_first_token",
    },
    refused={
        **dict.fromkeys(
            ("attention_mask", "input_ids", "inputs", "inputs_embeds", "position_ids"),
            Refusal(_OWN_IDS),
        ),
        "output_attentions": Refusal("call `model.generate` for attentions", (False,)),
        "output_hidden_states": Refusal("call `model.generate` for hidden states", (False,)),
        "output_logits": Refusal("call `model.generate` for logits", (False,)),
        "output_router_logits": Refusal("call `model.generate` for router logits", (False,)),
        "output_scores": Refusal("call `model.generate` for scores", (False,)),
        "return_dict_in_generate": Refusal(
            "call `model.generate` for its scores and states", (False,)
        ),
        "tokenizer": Refusal("the pipeline has its own; leave it out"),
    },
)

TEXT_CLASSIFICATION = ArgumentTable(
    title="Calls of `text-classification`",
    tests=_TESTS,
    supported={
        **dict.fromkeys(
            ("batch_size", "function_to_apply", "max_length", "padding", "top_k", "truncation"),
            _LABEL_PARITY,
        ),
        **dict.fromkeys(
            (
                *("add_special_tokens", "pad_to_multiple_of", "padding_side"),
                *("split_special_tokens", "tokenizer_kwargs"),
            ),
            _TOKENIZER_OPTIONS,
        ),
        "inputs": f"{_LABELS}inputs_go_by_name",
        "num_workers": f"{_FACTORY}workers_change_nothing",
    },
    refused={"return_all_scores": Refusal("give top_k=None, which returns all", (False,))},
)

TOKEN_CLASSIFICATION = ArgumentTable(
    title="Calls of `token-classification`",
    tests=_TESTS,
    supported={
        "aggregation_strategy": _LABEL_PARITY,
        "batch_size": _LABEL_PARITY,
        "delimiter": _WORDS,
        "ignore_labels": _LABEL_PARITY,
        "inputs": f"{_LABELS}inputs_go_by_name",
        "is_split_into_words": _WORDS,
        "num_workers": f"{_FACTORY}workers_change_nothing",
    },
    refused={
        "grouped_entities": Refusal("give aggregation_strategy='simple'", (False,)),
        "ignore_subwords": Refusal("give aggregation_strategy='first'", (False,)),
        "offset_mapping": Refusal("offsets are the tokenizer's; leave it out"),
        "stride": Refusal("long texts are read whole, up to the model's context; leave it out"),
    },
)
