"""Every argument of a tokenizer's `from_pretrained`, `save_pretrained` and `apply_chat_template`."""

from __future__ import annotations

from ossia.api.argument_table import ArgumentTable, Refusal
from ossia.api.tokenizing.special_names import ROLES

_TESTS = "tests/api/tokenizing"
_TOKENIZER = "test_pretrained_tokenizer.py::test_"
_CHATS = "test_chat_templating.py::test_"
_HUB = f"{_TOKENIZER}of_a_hub_repository_only_small_files_are_fetched"
_NAMED = f"{_TOKENIZER}settings_given_by_name_win"
_ROLES = f"{_TOKENIZER}roles_can_be_given_by_name"
_PARITY = f"{_CHATS}every_argument_does_what_transformers_does"

_FIXED_VOCABULARY = "the vocabulary is the model's; give the folder of its tokenizer.json"
_NOT_ADDED = "write the token into the text; none is added here"
_CALL = "give it to the tokenizer's call"

SETTINGS = {
    **dict.fromkeys(ROLES, _ROLES),
    "additional_special_tokens": _ROLES,
    "chat_template": _NAMED,
    "extra_special_tokens": _ROLES,
    "model_max_length": _NAMED,
    "padding_side": _NAMED,
    "split_special_tokens": _NAMED,
    "truncation_side": _NAMED,
}
"""What may be otherwise than the files say, and the test that shows it."""

FROM_PRETRAINED = ArgumentTable(
    title="Tokenizers",
    about="`AutoTokenizer.from_pretrained` and `PreTrainedTokenizerFast.from_pretrained`.",
    tests=_TESTS,
    supported={
        **SETTINGS,
        "cache_dir": _HUB,
        "config": f"{_TOKENIZER}from_pretrained_refuses_other_models_and_positions",
        "force_download": _HUB,
        "local_files_only": _HUB,
        "pretrained_model_name_or_path": f"{_TOKENIZER}a_subfolder_can_hold_it",
        "revision": _HUB,
        "subfolder": f"{_TOKENIZER}a_subfolder_can_hold_it",
        "token": _HUB,
        "trust_remote_code": _NAMED,
    },
    refused={
        "add_bos_token": Refusal(_NOT_ADDED, (False,)),
        "add_eos_token": Refusal(_NOT_ADDED, (False,)),
        "add_prefix_space": Refusal("put the space into the text", (False,)),
        "added_tokens_decoder": Refusal(_FIXED_VOCABULARY),
        "backend": Refusal("there is one, 'tokenizers'; leave it out", ("tokenizers",)),
        "chat_control_tokens": Refusal("all special tokens are control tokens; leave it out"),
        "clean_up_tokenization_spaces": Refusal(
            "it would corrupt text of a byte-level tokenizer; leave it out", (False,)
        ),
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": Refusal(
            "leave it out", (False,)
        ),
        "code_revision": Refusal("no code of the hub is run; leave it out"),
        "files_loaded": Refusal("is found out by reading; leave it out"),
        "fix_mistral_regex": Refusal("is for other models; leave it out", (False,)),
        "from_slow": Refusal("there is one tokenizer, the fast one; leave it out", (False,)),
        "gguf_file": Refusal("convert the file to a checkpoint folder"),
        "inputs": Refusal("give arguments by name"),
        "legacy": Refusal("is for other tokenizers; leave it out"),
        "max_len": Refusal("call it `model_max_length`"),
        "merges": Refusal(_FIXED_VOCABULARY),
        "mirror": Refusal("set the environment variable HF_ENDPOINT instead"),
        "mistral_format": Refusal("is for other models; leave it out", (False,)),
        "model_input_names": Refusal(
            "input_ids and attention_mask are given; pass return_attention_mask=False to a call "
            "that is to leave the mask out"
        ),
        "model_specific_special_tokens": Refusal("call it `extra_special_tokens`"),
        "name_or_path": Refusal("is the name that is loaded; leave it out"),
        "post_processor": Refusal(_NOT_ADDED),
        "processor_class": Refusal("gpt-oss reads text alone; leave it out"),
        "proxies": Refusal("set the environment variables HTTPS_PROXY and HTTP_PROXY instead"),
        "response_schema": Refusal("parse replies with `ossia.harmony`"),
        "response_template": Refusal("parse replies with `ossia.harmony`"),
        "resume_download": Refusal("downloads are always resumed; leave it out", (True,)),
        "tokenizer": Refusal(_FIXED_VOCABULARY),
        "tokenizer_file": Refusal("give the folder that it is in"),
        "tokenizer_object": Refusal(_FIXED_VOCABULARY),
        "tokenizer_padding": Refusal(f"{_CALL}, as `padding`"),
        "tokenizer_truncation": Refusal(f"{_CALL}, as `truncation`"),
        "tokenizer_type": Refusal("there is one, 'gpt_oss'; leave it out", ("gpt_oss",)),
        "unk_id": Refusal("every text has a token; leave it out"),
        "use_auth_token": Refusal("call it `token`"),
        "use_fast": Refusal("there is one tokenizer, the fast one; leave it out", (True,)),
        "verbose": Refusal("see Python's logging; leave it out", (True, False)),
        "vocab": Refusal(_FIXED_VOCABULARY),
        "vocab_file": Refusal("give the folder that it is in"),
    },
)

_UPLOAD = "save to a folder, then `hf upload OWNER/NAME FOLDER`"

SAVE_PRETRAINED = ArgumentTable(
    title="Tokenizers",
    tests=_TESTS,
    supported={"save_directory": f"{_TOKENIZER}saved_files_give_it_back_to_both"},
    refused={
        "commit_message": Refusal(_UPLOAD),
        "filename_prefix": Refusal("file names are fixed; choose another folder"),
        "legacy_format": Refusal("tokenizer.json is written; leave it out", (False,)),
        "push_to_hub": Refusal(_UPLOAD, (False,)),
        "repo_id": Refusal(_UPLOAD),
        "save_jinja_files": Refusal(
            "the template is written as chat_template.jinja; leave it out", (True,)
        ),
        "token": Refusal("nothing is uploaded; leave it out"),
    },
)

CHAT_TEMPLATE = ArgumentTable(
    title="Arguments",
    about=(
        "Any variable that the chat template asks for may be given by name, too: for gpt-oss these\n"
        "are `reasoning_effort`, `model_identity` and `builtin_tools`. A name that the template does\n"
        "not ask for is refused, and so are `documents` that it does not show."
    ),
    tests=_TESTS,
    supported={
        **dict.fromkeys(
            (
                *("add_generation_prompt", "chat_template", "continue_final_message"),
                *("conversation", "documents", "max_length", "padding", "return_dict"),
                *("return_assistant_tokens_mask", "return_tensors", "tokenize", "tools"),
                *("truncation", "builtin_tools", "model_identity", "reasoning_effort"),
            ),
            _PARITY,
        ),
        "sanitize_control_tokens": (f"{_CHATS}sanitized_chats_hold_no_special_token_of_their_own"),
        "tokenizer_kwargs": f"{_CHATS}left_padding_goes_with_masks",
    },
    refused={},
)
