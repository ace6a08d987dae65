"""Every argument of `from_pretrained` and `save_pretrained` of models and configs."""

from __future__ import annotations

from ossia.api.argument_table import ArgumentTable, Refusal

_TESTS = "tests/api/models"
_LOADING = "test_from_pretrained.py::test_"
_HUB = "test_hub_arguments.py::test_"
_SAVING = "test_saving.py::test_"

_ADAPTERS = "adapters are not loaded; merge them into a checkpoint first"
_NO_CODE = "no code of the hub is run; leave it out"
_PACKED = "gpt-oss has MXFP4 experts already; leave it out"
_SAFETENSORS = "only safetensors are read; convert the checkpoint first"
_PROXIES = "set the environment variables HTTPS_PROXY and HTTP_PROXY instead"

FROM_PRETRAINED = ArgumentTable(
    title="Models",
    about=(
        "`AutoModelForCausalLM.from_pretrained` and that of every other model class. Settings of\n"
        "the config, such as `num_labels` or `use_cache`, may be given by name, too."
    ),
    tests=_TESTS,
    supported={
        "attn_implementation": f"{_LOADING}attention_names_are_kept",
        "cache_dir": f"{_HUB}a_model_of_the_hub",
        "config": f"{_LOADING}a_config_comes_in_every_form",
        "device": f"{_LOADING}impossible_devices_are_refused",
        "device_map": f"{_LOADING}device_maps_of_a_machine_without_gpu",
        "distributed_config": f"{_LOADING}the_guides_multi_gpu_words_are_taken_by_one_process",
        "dtype": f"{_LOADING}dtype_by_both_names",
        "experts_implementation": f"{_LOADING}the_guides_multi_gpu_words_are_taken_by_one_process",
        "force_download": f"{_HUB}a_model_of_the_hub",
        "generation_config": f"{_LOADING}settings_of_generation_can_be_given",
        "ignore_mismatched_sizes": f"{_LOADING}a_head_of_another_size",
        "key_mapping": f"{_LOADING}names_in_files_can_be_mapped",
        "local_files_only": f"{_HUB}a_model_of_the_hub",
        "low_cpu_mem_usage": f"{_LOADING}harmless_arguments_are_taken",
        "max_memory": f"{_LOADING}max_memory_bounds_what_auto_takes",
        "output_loading_info": f"{_LOADING}a_new_head_is_said_once_and_reported",
        "pretrained_model_name_or_path": f"{_LOADING}a_subfolder_can_hold_the_model",
        "quantization_config": f"{_LOADING}experts_can_be_dequantised",
        "revision": f"{_HUB}a_model_of_the_hub",
        "subfolder": f"{_LOADING}a_subfolder_can_hold_the_model",
        "token": f"{_HUB}a_model_of_the_hub",
        "torch_dtype": f"{_LOADING}dtype_by_both_names",
        "tp_plan": f"{_LOADING}the_guides_multi_gpu_words_are_taken_by_one_process",
        "tp_size": f"{_LOADING}the_guides_multi_gpu_words_are_taken_by_one_process",
        "trust_remote_code": f"{_LOADING}permission_to_run_code_is_not_needed",
        "use_kernels": f"{_LOADING}the_guides_multi_gpu_words_are_taken_by_one_process",
    },
    refused={
        "adapter_kwargs": Refusal(_ADAPTERS),
        "adapter_name": Refusal(_ADAPTERS, ("default",)),
        "allow_all_kernels": Refusal("no kernels are downloaded; leave it out", (False,)),
        "code_revision": Refusal(_NO_CODE),
        "custom_generate": Refusal("no code of the hub is run; write a loop around `forward`"),
        "device_mesh": Refusal("one process holds the whole model; leave it out"),
        "disable_mmap": Refusal("copy the folder to a local disk and load that", (False,)),
        "from_flax": Refusal(_SAFETENSORS, (False,)),
        "from_tf": Refusal(_SAFETENSORS, (False,)),
        "fusion_config": Refusal("gpt-oss has nothing that it fuses; leave it out"),
        "gguf_file": Refusal("only safetensors are read; get them with `ossia pull`"),
        "kernel_config": Refusal("kernels are chosen by device, see `ossia doctor`; leave it out"),
        "load_in_4bit": Refusal(_PACKED, (False,)),
        "load_in_8bit": Refusal(_PACKED, (False,)),
        "mirror": Refusal("set the environment variable HF_ENDPOINT instead"),
        "model_args": Refusal("give arguments by name"),
        "offload_buffers": Refusal("there are no buffers; leave it out", (False,)),
        "offload_folder": Refusal(
            "leave it out: what a GPU cannot hold stays on the CPU, as views on the files"
        ),
        "offload_state_dict": Refusal(
            "weights are placed one by one anyway; leave it out", (True, False)
        ),
        "proxies": Refusal(_PROXIES),
        "resume_download": Refusal("downloads are always resumed; leave it out", (True,)),
        "state_dict": Refusal("build the class from its config and call `load_state_dict`"),
        "tqdm_class": Refusal("progress bars are not configurable; leave it out"),
        "use_auth_token": Refusal("call it `token`"),
        "use_flash_attention_2": Refusal(
            "Ossia's own attention runs; leave it out, or call it `attn_implementation`", (False,)
        ),
        "use_safetensors": Refusal("only safetensors are read; leave it out", (True,)),
        "variant": Refusal("files of one model are found by their index; leave it out"),
        "weights_only": Refusal("safetensors hold nothing but weights; leave it out", (True,)),
    },
)

CONFIG_FROM_PRETRAINED = ArgumentTable(
    title="Configs",
    about=(
        "`AutoConfig.from_pretrained` and `GptOssConfig.from_pretrained`. Settings may be given by\n"
        "name, too."
    ),
    tests=_TESTS,
    supported={
        "cache_dir": f"{_HUB}a_config_of_the_hub",
        "force_download": f"{_HUB}a_config_of_the_hub",
        "local_files_only": f"{_HUB}a_config_of_the_hub",
        "pretrained_model_name_or_path": f"{_LOADING}a_config_alone_can_be_read",
        "return_unused_kwargs": f"{_LOADING}a_config_alone_can_be_read",
        "revision": f"{_HUB}a_config_of_the_hub",
        "subfolder": f"{_LOADING}a_subfolder_can_hold_the_model",
        "token": f"{_HUB}a_config_of_the_hub",
        "trust_remote_code": f"{_LOADING}permission_to_run_code_is_not_needed",
    },
    refused={
        "attn_implementation": Refusal("give it to the model's `from_pretrained`"),
        "code_revision": Refusal(_NO_CODE),
        "experts_implementation": Refusal("give it to the model's `from_pretrained`"),
        "gguf_file": Refusal("config.json is read; give its folder as the name"),
        "per_layer_config": Refusal("layers of gpt-oss differ by their `layer_types` alone"),
        "proxies": Refusal(_PROXIES),
        "use_auth_token": Refusal("call it `token`"),
    },
)

_UPLOAD = "save to a folder, then `hf upload OWNER/NAME FOLDER`"
_UPLOADING = {
    "commit_message": Refusal(_UPLOAD),
    "create_pr": Refusal(_UPLOAD, (False,)),
    "push_to_hub": Refusal(_UPLOAD, (False,)),
    "repo_id": Refusal(_UPLOAD),
    "token": Refusal("nothing is uploaded; leave it out"),
}

SAVE_PRETRAINED = ArgumentTable(
    title="Models",
    tests=_TESTS,
    supported={
        "is_main_process": f"{_SAVING}only_the_main_process_writes",
        "max_shard_size": f"{_SAVING}files_are_split",
        "save_directory": f"{_SAVING}we_and_transformers_read_what_we_write",
        "state_dict": f"{_SAVING}another_state_dict_is_written",
    },
    refused={
        **_UPLOADING,
        "distributed_checkpoint": Refusal(
            "one process holds the whole model; leave it out", (False,)
        ),
        "safe_serialization": Refusal("only safetensors are written; leave it out", (True,)),
        "save_original_format": Refusal(
            "`ossia convert FOLDER TARGET --layout original` writes OpenAI's layout", (True, False)
        ),
        "save_peft_format": Refusal("adapters are not supported; leave it out", (True,)),
        "variant": Refusal("file names are fixed; choose another folder"),
    },
)

CONFIG_SAVE_PRETRAINED = ArgumentTable(
    title="Configs",
    tests=_TESTS,
    supported={"save_directory": f"{_LOADING}a_config_alone_can_be_read"},
    refused=_UPLOADING,
)
