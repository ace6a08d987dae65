"""pipeline(): every argument of transformers', met or refused by name."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import ossia
from ossia.api.pipelines.factory import _place, pipeline
from ossia.api.pipelines.text_generation_options import TextGenerationOptions
from ossia.errors import ModelNotFoundError, RequestError
from support.fake_hub import fake_hub
from support.folders import write_tiny_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_folder(tmp_path_factory.mktemp("factory") / "m", max_position_embeddings=256)


def test_every_argument_of_transformers_is_there():
    theirs = inspect.signature(transformers.pipeline).parameters
    ours = inspect.signature(pipeline).parameters
    assert list(ours) == list(theirs)
    for name, parameter in theirs.items():
        assert ours[name].default == parameter.default, name


def test_every_option_of_a_call_is_sorted_and_none_reaches_generate():
    """What transformers' text generation takes beside `generate`'s own arguments."""
    sanitize = transformers.TextGenerationPipeline._sanitize_parameters
    names = set(inspect.signature(sanitize).parameters) - {"self", "generate_kwargs"}
    names |= {"add_special_tokens", "padding", "batch_size"} - {"batch_size"}
    values: dict[str, Any] = {
        "return_type": 2,
        "prefix": "x",
        "handle_long_generation": "hole",
        "stop_sequence": "x",
        "max_length": 9,
        "tokenizer_encode_kwargs": {},
        "tools": [],
        "documents": [],
    }
    for name in names:
        found = TextGenerationOptions.of({name: values.get(name, True)})
        left = found.generation.keys()
        assert left <= {"stop_strings", "max_length"}, name
        assert name not in left or name == "max_length"


@pytest.mark.parametrize(
    "argument",
    [
        {"feature_extractor": "x"},
        {"image_processor": "x"},
        {"video_processor": "x"},
        {"processor": "x"},
        {"pipeline_class": object},
        {"task": "fill-mask"},
        {"tokenizer": 5},
        {"device_map": "auto", "device": 0},
        {"torch_dtype": "float32", "dtype": "float16"},
        {"use_fast": False},
        {"model": object()},
    ],
    ids=lambda argument: "-".join(argument),
)
def test_what_cannot_be_met_is_refused_by_name(folder: Path, argument: dict[str, Any]):
    with pytest.raises(RequestError) as refused:
        pipeline(**{"model": folder, **argument})
    assert refused.value.field == next(iter(argument))


def test_classification_names_its_model():
    for task in ("text-classification", "sentiment-analysis", "ner", "token-classification"):
        with pytest.raises(RequestError, match="model"):
            pipeline(task)
    with pytest.raises(ModelNotFoundError):
        pipeline(model="./nowhere")


def test_models_and_tokenizers_come_in_every_form(folder: Path):
    pipe = pipeline(task=None, model=folder, torch_dtype=torch.float32, device=-1, batch_size=3)
    assert (pipe.task, str(pipe.device), pipe.dtype) == ("text-generation", "cpu", torch.float32)
    assert pipe.tokenizer.name_or_path == str(folder)
    again = pipeline("text-generation", model=pipe.model, tokenizer=pipe.tokenizer, device="cpu")
    assert again.model is pipe.model
    assert again.tokenizer is pipe.tokenizer
    named = pipeline(
        model=str(folder),
        tokenizer=("random:tiny", {"padding_side": "left"}),
        model_kwargs={"force_download": False},
        local_files_only=True,
        revision=None,
        token=None,
        trust_remote_code=True,
        max_new_tokens=2,
        do_sample=False,
    )
    assert named.tokenizer.padding_side == "left"
    (output,) = named("a", return_tensors=True)
    assert len(output["generated_token_ids"]) == 3


def test_what_loads_a_model_goes_through_model_kwargs(folder: Path):
    for options in (
        {"model_kwargs": {"torch_dtype": torch.float32, "device_map": "cpu"}},
        {"model_kwargs": {"dtype": "float32", "attn_implementation": "sdpa"}, "device": -1},
        {"dtype": "float32", "device_map": "cpu"},
    ):
        pipe = pipeline(model=folder, **options)
        assert (str(pipe.device), pipe.dtype) == ("cpu", torch.float32)
    assert pipe.model.hf_device_map == {"": "cpu"}
    with pytest.raises(RequestError, match=r"^atn_implementation: .*did you mean attn_impl"):
        pipeline(model=folder, model_kwargs={"atn_implementation": "sdpa"})


@pytest.mark.parametrize(
    "argument",
    [
        {"config": "demo"},
        {"dtype": "float32"},
        {"device_map": "cpu"},
        {"revision": "main"},
        {"model_kwargs": {"use_cache": False}},
    ],
    ids=str,
)
def test_a_loaded_model_is_not_loaded_again(folder: Path, argument: dict[str, Any]):
    model = ossia.AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(RequestError, match="loaded already"):
        pipeline(model=model, **argument)
    pipeline(model=model, dtype="auto", token="x", local_files_only=True, trust_remote_code=False)


def test_a_config_can_be_given(folder: Path):
    config = ossia.AutoConfig.from_pretrained(folder, use_cache=False)
    assert pipeline(model=folder, config=config, device=-1).model.config.use_cache is False
    assert pipeline(model=folder, config=str(folder), device=-1).model.config.use_cache is True


def test_the_hub_is_asked_as_said(folder: Path, tmp_path: Path, monkeypatch: Any):
    files = {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}
    with fake_hub(files) as hub:
        hub.revisions = {"mine": files}
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        )
        own: dict[str, Any] = {"model_kwargs": {"cache_dir": tmp_path}, "device": -1}
        with pytest.raises(ModelNotFoundError):
            pipeline(model=hub.repo_id, revision="other", **own)
        pipe = pipeline(model=hub.repo_id, revision="mine", token="secret", **own)
        assert pipe.task == "text-generation"
        assert "Bearer secret" in hub.tokens
        hub.requests.clear()
        pipeline(model=hub.repo_id, revision="mine", local_files_only=True, **own)
        assert not hub.requests


def test_workers_change_nothing(folder: Path):
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": 3}
    pipe = pipeline(model=folder, device=-1, num_workers=2)
    assert pipe(["a", "b"], num_workers=3, **options) == pipe(["a", "b"], **options)


def test_a_slip_of_the_pen_is_refused_when_the_pipeline_is_made(folder: Path):
    for name, near in (
        ("reasoning_efort", "reasoning_effort"),
        ("max_new_token", "max_new_tokens"),
        ("bach_size", "batch_size"),
    ):
        with pytest.raises(RequestError, match=rf"^{name}: .*did you mean {near}\?"):
            pipeline(model=folder, **{name: 1})
    with pytest.raises(RequestError, match=r"^text_inputs: is for calls"):
        pipeline(model=folder, text_inputs="a")


def test_a_saved_pipeline_is_the_same(folder: Path, tmp_path: Path):
    pipe = pipeline(model=folder, device=-1)
    pipe.save_pretrained(tmp_path / "saved")
    saved = pipeline(model=tmp_path / "saved", device=-1)
    options: dict[str, Any] = {"do_sample": False, "max_new_tokens": 3}
    assert saved("a", **options) == pipe("a", **options)


def test_a_gpu_that_is_not_there_is_said_and_replaced(caplog: Any):
    assert (_place(-1), _place("-1"), _place("cpu"), _place(None)) == ("cpu", "cpu", "cpu", "auto")
    if not torch.cuda.is_available():
        assert (_place(0), _place("1")) == ("cpu", "cpu")
        assert "the CPU runs it" in caplog.text


def test_names_load_without_torch_where_they_can():
    import subprocess
    import sys

    code = (
        "import sys, ossia; ossia.AutoTokenizer, ossia.SamplingParams, ossia.BatchEncoding;"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert ossia.pipeline is pipeline
