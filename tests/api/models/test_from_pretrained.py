"""from_pretrained: every argument does what it says, or is refused by name."""

from __future__ import annotations

import logging

import pytest
import torch
import transformers

import ossia
from ossia import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    GenerationConfig,
    GptOssConfig,
    GptOssForCausalLM,
    GptOssForSequenceClassification,
    GptOssForTokenClassification,
    GptOssModel,
    Mxfp4Config,
)
from ossia.api.models import device_map, load_options
from ossia.api.models.device_map import asked_placement, fitted, parse_bytes
from ossia.checkpoint.convert import convert
from ossia.distributed import DistributedConfig
from ossia.errors import CheckpointError, ConfigError, RequestError
from support.checkpoints import edit_json, tiny_config, write_tiny

IDS = torch.tensor([[1, 2, 3, 4]])


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("packed") / "it")


@pytest.fixture(scope="module")
def dense(packed, tmp_path_factory):
    return convert(packed, tmp_path_factory.mktemp("dense") / "it", experts="dense")


def _logits(folder, **options):
    return GptOssForCausalLM.from_pretrained(folder, **options)(IDS).logits


# Classes and names


@pytest.mark.parametrize("name", ["packed", "original", "random:tiny"])
def test_all_classes_load_all_kinds_of_names(name, packed, tmp_path):
    if name == "original":
        name = convert(packed, tmp_path / "it", layout="original")
    elif name == "packed":
        name = packed
    model = AutoModelForCausalLM.from_pretrained(name)
    assert isinstance(model, GptOssForCausalLM)
    assert not model.training
    decoder = AutoModel.from_pretrained(name)
    assert isinstance(decoder, GptOssModel)
    hidden = decoder(IDS).last_hidden_state
    assert torch.equal(model.lm_head(hidden), model(IDS).logits)
    for auto, kind in (
        (AutoModelForSequenceClassification, GptOssForSequenceClassification),
        (AutoModelForTokenClassification, GptOssForTokenClassification),
    ):
        classifier = auto.from_pretrained(name, num_labels=3)
        assert isinstance(classifier, kind)
        assert torch.equal(classifier.model(IDS).last_hidden_state, hidden)
        assert classifier(IDS).logits.shape[-1] == 3


def test_the_demo_loads():
    model = AutoModelForCausalLM.from_pretrained("demo", dtype="float32")
    assert model(torch.tensor([[200006, 1428, 200008]])).logits.shape == (1, 3, 201088)
    assert model.config.quantization_config["quant_method"] == "mxfp4"
    assert AutoConfig.from_pretrained("demo") == GptOssConfig.from_pretrained("demo")


def test_auto_classes_are_not_built():
    for auto in (AutoConfig, AutoModel, AutoModelForCausalLM):
        with pytest.raises(ConfigError, match=f"{auto.__name__}.from_pretrained"):
            auto()


def test_from_config_gives_a_new_model_to_train():
    config = GptOssConfig.from_model_config(tiny_config(expert_format="dense"))
    model = AutoModelForCausalLM.from_config(config, dtype="bfloat16", attn_implementation="sdpa")
    assert model.training
    assert model.dtype == model.config.dtype == torch.bfloat16
    assert config.dtype is None
    assert 0.015 < model.lm_head.weight.float().std() < 0.025
    assert not model.model.layers[0].self_attn.q_proj.bias.any()
    assert AutoConfig.for_model("gpt_oss", num_hidden_layers=3).num_hidden_layers == 3
    with pytest.raises(ConfigError, match="llama"):
        AutoConfig.for_model("llama")


# New heads


def test_a_new_head_is_said_once_and_reported(packed, caplog):
    with caplog.at_level(logging.WARNING, logger="ossia"):
        model, info = GptOssForTokenClassification.from_pretrained(
            packed, id2label={0: "no", 1: "yes", 2: "maybe"}, output_loading_info=True
        )
    assert [record.message for record in caplog.records] == [
        "initialised score.weight, score.bias: a new head, which has to be trained"
    ]
    assert info == {
        "missing_keys": {"score.weight", "score.bias"},
        "unexpected_keys": {"lm_head.weight"},
        "mismatched_keys": set(),
        "error_msgs": [],
    }
    assert model.config.label2id == {"no": 0, "yes": 1, "maybe": 2}
    assert model.score.weight.std() > 0
    assert model.score.weight.dtype == torch.bfloat16
    assert not model.score.bias.any()


def test_a_head_of_another_size(packed, tmp_path):
    saved = GptOssForSequenceClassification.from_pretrained(packed, num_labels=3)
    saved.save_pretrained(tmp_path)
    again = GptOssForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(again.score.weight, saved.score.weight)
    with pytest.raises(CheckpointError, match=r"score.weight.*ignore_mismatched_sizes"):
        GptOssForSequenceClassification.from_pretrained(tmp_path, num_labels=5)
    resized, info = GptOssForSequenceClassification.from_pretrained(
        tmp_path, num_labels=5, ignore_mismatched_sizes=True, output_loading_info=True
    )
    assert resized.score.weight.shape == (5, 64)
    assert info["mismatched_keys"] == {("score.weight", (3, 64), (5, 64))}
    with pytest.raises(CheckpointError, match=r"lm_head.weight.*not of GptOssForCausalLM"):
        GptOssForCausalLM.from_pretrained(tmp_path)


# dtype and quantisation


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [("float32", torch.float32), (torch.float16, torch.float16), ("auto", torch.bfloat16)],
)
def test_dtype_by_both_names(packed, name, value, expected):
    model = GptOssForCausalLM.from_pretrained(packed, **{name: value})
    assert model.dtype == model.config.dtype == model.config.torch_dtype == expected


def test_two_dtypes_must_agree(packed):
    GptOssForCausalLM.from_pretrained(packed, dtype="float32", torch_dtype=torch.float32)
    with pytest.raises(RequestError, match="torch_dtype: is float16, but dtype is float32"):
        GptOssForCausalLM.from_pretrained(packed, dtype="float32", torch_dtype="float16")


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16"])
@pytest.mark.parametrize("as_dict", [False, True])
def test_experts_can_be_dequantised(packed, dtype, as_dict):
    wish = Mxfp4Config(dequantize=True)
    model = GptOssForCausalLM.from_pretrained(
        packed, dtype=dtype, quantization_config=wish.to_dict() if as_dict else wish
    )
    expected = getattr(torch, dtype or "bfloat16")
    experts = model.model.layers[0].mlp.experts
    assert experts.gate_up_proj.dtype == model.dtype == expected
    assert experts.gate_up_proj.requires_grad
    assert model.config.quantization_config is None
    near = 2e-2 if expected == torch.bfloat16 else 1e-5
    assert torch.allclose(model(IDS).logits, _logits(packed, dtype=dtype), atol=near)
    model(IDS, labels=IDS).loss.backward()
    assert experts.gate_up_proj.grad.any()


def test_transformers_own_config_object_is_taken(packed):
    model = GptOssForCausalLM.from_pretrained(
        packed, quantization_config=transformers.Mxfp4Config(dequantize=True)
    )
    assert model.model.layers[0].mlp.experts.down_proj.dtype == torch.bfloat16


def test_dense_experts_can_be_packed(packed, dense):
    model = GptOssForCausalLM.from_pretrained(dense, quantization_config=Mxfp4Config())
    assert model.model.layers[0].mlp.experts.gate_up_proj_blocks.dtype == torch.uint8
    assert model.config.quantization_config["quant_method"] == "mxfp4"
    assert torch.equal(model(IDS).logits, _logits(packed))


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"quant_method": "awq"}, "awq"),
        ({"quant_method": "mxfp4", "bits": 4}, "no setting bits"),
        (Mxfp4Config(["model.layers.*.mlp.experts"]), "names experts"),
        (Mxfp4Config(["model.layers.0"]), "names experts"),
        (object(), "object is not supported"),
    ],
)
def test_other_quantisations_are_refused(packed, wish, message):
    with pytest.raises(RequestError, match=f"quantization_config: .*{message}"):
        GptOssForCausalLM.from_pretrained(packed, quantization_config=wish)


def test_modules_that_stay_floats_anyway_may_be_named(packed):
    names = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"]
    GptOssForCausalLM.from_pretrained(packed, quantization_config=Mxfp4Config(names))


# Devices


@pytest.mark.parametrize(
    "device_map", ["auto", "cpu", torch.device("cpu"), {"": "cpu"}, {"model.layers.0": "cpu"}]
)
def test_device_maps_of_a_machine_without_gpu(packed, device_map):
    if torch.cuda.is_available():
        pytest.skip("auto would take the GPU")
    model = GptOssForCausalLM.from_pretrained(packed, device_map=device_map)
    assert model.device.type == "cpu"
    assert model.hf_device_map[""] == "cpu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device_map": "cpu", "device": "cpu"}, "device: was given as well"),
        ({"device_map": "tpu"}, "device_map: .*not one of"),
        ({"device_map": {}}, "device_map: is empty"),
        ({"device_map": {"": "disk"}}, "device_map: weights on disk"),
        ({"device_map": 99}, "device_map: .*(no CUDA device|not there)"),
        ({"device_map": 1.5}, "device_map: 1.5 is no device"),
    ],
)
def test_impossible_devices_are_refused(packed, options, message):
    with pytest.raises(RequestError, match=message):
        GptOssForCausalLM.from_pretrained(packed, **options)


def test_experts_of_the_last_layers_stay_behind():
    sizes = {"model.embed_tokens.weight": 100, "lm_head.weight": 100}
    sizes |= {f"model.layers.{idx}.mlp.experts.down_proj": 50 for idx in range(4)}
    gpu = torch.device("cuda:0")
    assert fitted(sizes, gpu, 400).experts_on_cpu == frozenset()
    placement = fitted(sizes, gpu, 310)
    assert placement.experts_on_cpu == {2, 3}
    assert placement.of("model.layers.3.mlp.experts.down_proj").type == "cpu"
    assert placement.of("layers.3.mlp.experts.down_proj").type == "cpu"
    assert placement.of("model.layers.1.mlp.experts.down_proj") == gpu
    assert placement.of("model.layers.3.self_attn.sinks") == gpu
    assert placement.as_map() == {
        "": "cuda:0",
        "model.layers.2.mlp.experts": "cpu",
        "model.layers.3.mlp.experts": "cpu",
    }
    assert fitted(sizes, gpu, 0).experts_on_cpu == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("text", "size"), [(12, 12), ("5GB", 5 * 10**9), ("1.5 GiB", 3 * 2**29), ("10kb", 10_000)]
)
def test_sizes_are_read(text, size):
    assert parse_bytes(text, "it") == size


@pytest.mark.parametrize("text", ["", "5 apples", -1, 1.5, None])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(RequestError, match=r"it: .* is no size"):
        parse_bytes(text, "it")


@pytest.mark.gpu
def test_experts_left_on_the_cpu_are_sent(packed):
    expected = GptOssForCausalLM.from_pretrained(packed, device_map="cuda", dtype="float32")
    model = GptOssForCausalLM.from_pretrained(
        packed, device_map={"": 0, "model.layers.1": "cpu"}, dtype="float32"
    )
    assert model.model.layers[1].mlp.experts.gate_up_proj_blocks.device.type == "cpu"
    assert model.model.layers[1].self_attn.q_proj.weight.device.type == "cuda"
    assert torch.equal(model(IDS.cuda()).logits, expected(IDS.cuda()).logits)
    small = GptOssForCausalLM.from_pretrained(
        packed, device_map="auto", max_memory={0: "20KB", "cpu": "1GB"}, dtype="float32"
    )
    assert small.hf_device_map == {
        "": "cuda",
        "model.layers.0.mlp.experts": "cpu",
        "model.layers.1.mlp.experts": "cpu",
    }
    assert torch.equal(small(IDS.cuda()).logits, expected(IDS.cuda()).logits)


# Names of attention, kernels, parallel plans


@pytest.mark.parametrize(
    "name",
    [
        None,
        "eager",
        "sdpa",
        "flash_attention_2",
        "flex_attention",
        "kernels-community/vllm-flash-attn3",
        "kernels-community/vllm-flash-attn3@main:fa3",
        "paged|eager",
    ],
)
def test_attention_names_are_kept(packed, name):
    model = GptOssForCausalLM.from_pretrained(packed, attn_implementation=name)
    assert model.config._attn_implementation == (name or "eager")
    assert torch.equal(model(IDS).logits, _logits(packed))


def test_unknown_attentions_are_refused_with_the_list(packed):
    with pytest.raises(RequestError, match=r"attn_implementation: 'flash' is not one of eager, sd"):
        GptOssForCausalLM.from_pretrained(packed, attn_implementation="flash")


def test_the_guides_multi_gpu_words_are_taken_by_one_process(packed, caplog):
    load_options._told.clear()
    with caplog.at_level(logging.INFO, logger="ossia"):
        for _ in range(2):
            model = AutoModelForCausalLM.from_pretrained(
                packed,
                torch_dtype="auto",
                attn_implementation="kernels-community/vllm-flash-attn3",
                distributed_config=DistributedConfig(enable_expert_parallel=1),
                tp_plan="auto",
                tp_size=4,
                use_kernels=True,
                experts_implementation="grouped_mm",
            )
    said = [record.message for record in caplog.records]
    assert sum("tp_plan and distributed_config change nothing" in line for line in said) == 1
    assert sum("chooses its kernels" in line for line in said) == 1
    assert torch.equal(model(IDS).logits, _logits(packed))


def test_several_processes_are_refused(packed, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(RequestError, match=r"tp_plan: WORLD_SIZE is 4.*not built yet"):
        GptOssForCausalLM.from_pretrained(packed, tp_plan="auto")
    GptOssForCausalLM.from_pretrained(packed)


def test_a_distributed_config_is_checked():
    assert DistributedConfig.from_dict({"ep_size": 2}).to_dict()["ep_size"] == 2
    for values in ({"tp_size": 0}, {"ep_sise": 2}):
        with pytest.raises(ConfigError, match=next(iter(values))):
            DistributedConfig.from_dict(values)


# Everything else


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"use_safetensors": False}, "use_safetensors"),
        ({"nonsense": 1}, "nonsense"),
        ({"max_memory": {0: "1GB"}}, "max_memory"),
        ({"generation_config": 5}, "generation_config"),
        ({"subfolder": "nowhere", "pretrained_model_name_or_path": "demo"}, "subfolder"),
        ({"tp_plan": "mine"}, "tp_plan"),
        ({"experts_implementation": "mine"}, "experts_implementation"),
        ({"distributed_config": {"x": 1}}, "distributed_config"),
        ({"config": 5}, "config"),
        ({"key_mapping": {"(": "x"}}, "key_mapping"),
    ],
)
def test_what_cannot_be_met_is_refused(packed, options, field):
    options = {"pretrained_model_name_or_path": packed, **options}
    with pytest.raises(RequestError) as raised:
        GptOssForCausalLM.from_pretrained(**options)
    assert raised.value.field == field


@pytest.mark.parametrize("kind", [AutoModelForCausalLM, AutoConfig])
def test_a_slip_of_the_pen_is_refused_with_the_nearest_name(packed, kind):
    with pytest.raises(RequestError, match=r"^revison: .* did you mean revision\?"):
        kind.from_pretrained(packed, revison="main")
    with pytest.raises(RequestError, match=r"^num_label: .* did you mean num_labels\?"):
        kind.from_pretrained(packed, num_label=3)
    with pytest.raises(ConfigError, match=r"num_label is .* did you mean num_labels\?"):
        GptOssConfig(num_label=3)


def test_permission_to_run_code_is_not_needed(packed, caplog):
    load_options._told.clear()
    with caplog.at_level(logging.INFO, logger="ossia"):
        model = GptOssForCausalLM.from_pretrained(packed, trust_remote_code=True)
        config = AutoConfig.from_pretrained(packed, trust_remote_code=True)
    assert config.hidden_size == model.config.hidden_size
    said = [one.message for one in caplog.records if "trust_remote_code" in one.message]
    assert said == ["trust_remote_code makes no difference: no code of a repository is run"] * 2


def test_a_subfolder_can_hold_the_model(packed):
    options = {"pretrained_model_name_or_path": packed.parent, "subfolder": packed.name}
    model = AutoModelForCausalLM.from_pretrained(**options)
    assert torch.equal(model(IDS).logits, _logits(packed))
    assert AutoConfig.from_pretrained(**options) == AutoConfig.from_pretrained(packed)
    with pytest.raises(RequestError, match=r"subfolder: .*hf download"):
        AutoConfig.from_pretrained("owner/name", subfolder="x")


def test_settings_of_generation_can_be_given(packed):
    for given in (
        GenerationConfig(max_new_tokens=3),
        transformers.GenerationConfig(max_new_tokens=3),
    ):
        model = GptOssForCausalLM.from_pretrained(packed, generation_config=given)
        assert model.generation_config.max_new_tokens == 3
        assert model.generation_config is not given
        assert model.generate(IDS, do_sample=False, eos_token_id=None).shape == (1, 7)
    with pytest.raises(RequestError, match=r"generation_config: GptOssModel does not generate"):
        GptOssModel.from_pretrained(packed, generation_config=GenerationConfig())


def test_max_memory_bounds_what_auto_takes(monkeypatch):
    sizes = {"lm_head.weight": 100, "model.layers.0.mlp.experts.down_proj": 1000}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000, 10_000))
    monkeypatch.setattr(
        device_map, "torch_device", lambda it: torch.device("cuda" if it == "auto" else it)
    )
    assert asked_placement("auto", None, sizes).experts_on_cpu == frozenset()
    bounds = {0: "1KB", "cpu": "1GB"}
    assert asked_placement("auto", None, sizes, bounds).experts_on_cpu == {0}
    with pytest.raises(RequestError, match="max_memory: bounds what device_map='auto' takes"):
        asked_placement("cpu", None, sizes, bounds)


def test_harmless_arguments_are_taken(packed):
    GptOssForCausalLM.from_pretrained(
        packed,
        low_cpu_mem_usage=True,
        use_safetensors=True,
        weights_only=True,
        adapter_name="default",
        offload_buffers=False,
        trust_remote_code=False,
        revision="main",
        cache_dir=packed,
        local_files_only=True,
        token=True,
        force_download=False,
    )


def test_settings_of_the_config_are_overridden(packed):
    model = GptOssForCausalLM.from_pretrained(packed, use_cache=False, output_router_logits=True)
    output = model(IDS)
    assert output.past_key_values is None
    assert len(output.router_logits) == 2


def test_a_config_comes_in_every_form(packed, tmp_path):
    config = AutoConfig.from_pretrained(packed, num_labels=5)
    config.save_pretrained(save_directory=tmp_path)
    for given in (config, transformers.GptOssConfig(**config.to_dict()), tmp_path, str(tmp_path)):
        model = GptOssForTokenClassification.from_pretrained(packed, config=given, use_cache=False)
        assert (model.config.num_labels, model.config.use_cache) == (5, False)


def test_a_config_of_another_shape_is_noticed(packed):
    config = GptOssConfig.from_pretrained(packed)
    assert GptOssForCausalLM.from_pretrained(packed, config=config)(IDS).logits.shape[1] == 4
    with pytest.raises(CheckpointError, match=r"model.layers.1.* another shape"):
        GptOssForCausalLM.from_pretrained(
            packed, num_hidden_layers=1, layer_types=["sliding_attention"]
        )
    config.hidden_size = 96
    with pytest.raises(CheckpointError, match="has shape"):
        GptOssForCausalLM.from_pretrained(packed, config=config)


def test_names_in_files_can_be_mapped(packed, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(packed / "model.safetensors")
    renamed = {name.replace("model.", "decoder.", 1): state[name] for name in state}
    save_file(renamed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((packed / "config.json").read_text())
    with pytest.raises(CheckpointError):
        GptOssForCausalLM.from_pretrained(tmp_path)
    model = GptOssForCausalLM.from_pretrained(tmp_path, key_mapping={r"^decoder\.": "model."})
    assert torch.equal(model(IDS).logits, _logits(packed))


def test_broken_checkpoints_are_errors(packed, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(packed / "model.safetensors")
    (tmp_path / "config.json").write_text((packed / "config.json").read_text())
    for change, message in (
        ({"extra.weight": torch.ones(1)}, "extra.weight"),
        ({"model.norm.weight": torch.ones(3)}, r"model.norm.weight.*shape"),
        ({"model.norm.weight": None}, r"model.norm.weight.*missing"),
    ):
        changed = {name: t for name, t in (state | change).items() if t is not None}
        save_file(changed, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=message):
            GptOssForCausalLM.from_pretrained(tmp_path)


def test_a_config_alone_can_be_read(packed, tmp_path):
    GptOssConfig.from_pretrained(packed).save_pretrained(save_directory=tmp_path)
    config, unused = AutoConfig.from_pretrained(
        pretrained_model_name_or_path=tmp_path,
        num_labels=4,
        return_unused_kwargs=True,
        colour="red",
        proxies=None,
    )
    assert unused == {"colour": "red"}
    assert config.id2label == {idx: f"LABEL_{idx}" for idx in range(4)}
    with pytest.raises(RequestError, match=r"^colour: "):
        AutoConfig.from_pretrained(tmp_path, colour="red")
    edit_json(tmp_path / "config.json", model_type="llama")
    with pytest.raises(ConfigError, match="llama"):
        AutoConfig.from_pretrained(tmp_path)


def test_the_engine_refuses_classifiers(packed, tmp_path):
    from ossia.api.runtime import Runtime

    GptOssForSequenceClassification.from_pretrained(packed).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="GptOssForSequenceClassification, which generates"):
        Runtime.load(str(tmp_path))
    with pytest.raises(CheckpointError, match="only language models are converted"):
        convert(tmp_path, tmp_path / "x")


def test_every_public_class_is_there():
    assert {"AutoModel", "Mxfp4Config", "GptOssModel"} <= set(dir(ossia))
    assert asked_placement(None, None, {}).device.type == "cpu"
