"""transformers reads what we write, and we read what transformers writes."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors
from transformers.utils import is_kernels_available

import ossia
from ossia.checkpoint.convert import convert, converted_tensors, dequantize_experts
from ossia.checkpoint.reader import open_checkpoint
from ossia.config import ModelConfig, RopeScaling
from ossia.errors import CheckpointError
from support.checkpoints import edit_json, tiny_config, write_tiny
from support.transformers_version import IS_4

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

DENSE = tiny_config(expert_format="dense")


def load_theirs(
    folder: Path, kind: str = "GptOssForCausalLM", **options: object
) -> transformers.PreTrainedModel:
    """Load with transformers and insist that every tensor found its place."""
    model, report = getattr(transformers, kind).from_pretrained(
        folder, output_loading_info=True, **options
    )
    assert not any(report.values()), report
    return model


def assert_same_tensors(theirs: dict[str, torch.Tensor], ours: dict[str, torch.Tensor]) -> None:
    assert theirs.keys() == ours.keys()
    for name, tensor in ours.items():
        assert theirs[name].dtype == tensor.dtype, name
        assert torch.equal(theirs[name], tensor), name


@pytest.mark.parametrize("max_shard_bytes", [30_000, 5_000_000_000])
def test_transformers_reads_our_mxfp4(tmp_path, max_shard_bytes):
    config = tiny_config(pad_token_id=1, eos_token_id=2)
    folder = write_tiny(tmp_path / "it", config, max_shard_bytes=max_shard_bytes)
    theirs = load_theirs(
        folder,
        quantization_config=transformers.Mxfp4Config(dequantize=True),
        dtype=torch.bfloat16,
    )
    dense = tiny_config(pad_token_id=1, eos_token_id=2, expert_format="dense")
    ours = dict(converted_tensors(open_checkpoint(folder), dense))
    assert_same_tensors(theirs.state_dict(), ours)
    assert theirs.generation_config.do_sample
    assert theirs.generation_config.eos_token_id == 2


def test_transformers_reads_our_dense_experts(tmp_path):
    packed = write_tiny(tmp_path / "packed")
    folder = convert(packed, tmp_path / "dense", experts="dense")
    theirs = load_theirs(folder, dtype="auto")
    assert_same_tensors(theirs.state_dict(), dict(open_checkpoint(folder).items()))


@pytest.mark.parametrize(
    "scaling", [RopeScaling(), RopeScaling(factor=4.0, truncate=True), RopeScaling(factor=1.0)]
)
def test_transformers_reads_our_config(tmp_path, scaling):
    config = tiny_config(expert_format="dense", rope_scaling=scaling, rope_theta=10_000.0)
    folder = write_tiny(tmp_path / "ours", config)
    theirs = transformers.GptOssConfig.from_pretrained(folder)
    theirs.save_pretrained(tmp_path / "theirs")
    raw = json.loads((tmp_path / "theirs" / "config.json").read_text())
    assert ModelConfig.from_dict(raw) == config


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("max_shard_size", ["30KB", "5GB"])
def test_we_read_what_transformers_writes(tmp_path, dtype, max_shard_size):
    theirs = transformers.GptOssForCausalLM(transformers.GptOssConfig(**DENSE.to_hf())).to(dtype)
    theirs.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    checkpoint = open_checkpoint(tmp_path)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (max_shard_size == "30KB")
    assert checkpoint.config == DENSE
    assert_same_tensors(theirs.state_dict(), dict(checkpoint.items()))


def test_rope_keys_of_old_and_new_transformers(tmp_path):
    transformers.GptOssForCausalLM(transformers.GptOssConfig(**DENSE.to_hf())).save_pretrained(
        tmp_path
    )
    raw = json.loads((tmp_path / "config.json").read_text())
    assert ("rope_parameters" in raw) != ("rope_theta" in raw)
    if "rope_parameters" in raw:
        new = raw["rope_parameters"]
        old = {key: value for key, value in new.items() if key != "rope_theta"}
        other = {"rope_parameters": ..., "rope_theta": new["rope_theta"], "rope_scaling": old}
    else:
        new = {**raw["rope_scaling"], "rope_theta": raw["rope_theta"]}
        other = {"rope_parameters": new, "rope_theta": ..., "rope_scaling": ...}
    edit_json(tmp_path / "config.json", **other)
    assert open_checkpoint(tmp_path).config == DENSE


@pytest.mark.skipif(
    torch.cuda.is_available() or is_kernels_available(),
    reason="transformers may be able to",
)
def test_transformers_makes_no_mxfp4_here(tmp_path):
    """Why the packed files of the next tests are put together by hand.

    To pack dense weights, transformers 4.57 needs a GPU, and 5.23 the package `kernels`, which
    downloads Triton code from the Hub. Without these, of packed files both keep the expanded form
    only, so that they have nothing packed to write.
    """
    theirs = transformers.GptOssForCausalLM(transformers.GptOssConfig(**DENSE.to_hf()))
    theirs.save_pretrained(tmp_path / "dense")
    with pytest.raises((RuntimeError, ValueError), match=r"requires (a GPU|the `kernels` package)"):
        load_theirs(tmp_path / "dense", quantization_config=transformers.Mxfp4Config())
    packed = write_tiny(tmp_path / "packed")
    expanded = load_theirs(packed, dtype=torch.bfloat16)
    assert not any(tensor.dtype == torch.uint8 for tensor in expanded.state_dict().values())


def write_packed(
    folder: Path, kind: str, scales: tuple[int, int], std: float = 1.0
) -> dict[str, torch.Tensor]:
    """Files of the released layout, without our writer: transformers' names, config and shapes.

    Args:
        folder: Where to.
        kind: transformers' class.
        scales: Range of the experts' scale bytes.
        std: Of all other weights.
    """
    generator = torch.Generator().manual_seed(0)
    settings = {**DENSE.to_hf(), "architectures": [kind], "num_labels": 3}
    with torch.device("meta"):
        dense = getattr(transformers, kind)(transformers.GptOssConfig(**settings))
    state: dict[str, torch.Tensor] = {}
    for name, tensor in dense.state_dict().items():
        if tensor.dim() == 3:
            experts, columns, rows = tensor.shape
            shape = (experts, rows, columns // 32)
            blocks = torch.randint(0, 256, (*shape, 16), generator=generator)
            state[f"{name}_blocks"] = blocks.byte()
            state[f"{name}_scales"] = torch.randint(*scales, shape, generator=generator).byte()
        else:
            state[name] = (std * torch.randn(tensor.shape, generator=generator)).bfloat16()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    mxfp4 = transformers.Mxfp4Config().to_dict()
    transformers.GptOssConfig(**settings, quantization_config=mxfp4).save_pretrained(folder)
    return state


@pytest.mark.parametrize(
    "kind",
    ["GptOssForCausalLM", "GptOssForSequenceClassification", "GptOssForTokenClassification"],
)
def test_mxfp4_files_of_transformers_give_equal_logits(tmp_path, kind):
    write_packed(tmp_path, kind, scales=(118, 124), std=0.3)
    theirs = load_theirs(
        tmp_path,
        kind,
        quantization_config=transformers.Mxfp4Config(dequantize=True),
        dtype=torch.float32,
    )
    ours, report = getattr(ossia, kind).from_pretrained(
        tmp_path, dtype="float32", output_loading_info=True
    )
    assert not any(report.values())
    assert ours.model.layers[0].mlp.experts.down_proj_blocks.dtype == torch.uint8
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        expected = theirs.float().eval()(ids).logits
        assert expected.std() > 0.1
        assert (ours(ids).logits - expected).abs().max() <= 2e-4


def test_we_read_mxfp4_as_transformers_does(tmp_path):
    """Random codes and a wide range of scales."""
    config = tiny_config()
    state = write_packed(tmp_path, "GptOssForCausalLM", scales=(90, 160))
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config == config
    assert_same_tensors(state, dict(checkpoint.items()))
    for name in [name for name in state if name.endswith("_blocks")]:
        blocks, scales = state[name], state[name.replace("blocks", "scales")]
        expected = convert_moe_packed_tensors(blocks, scales, dtype=torch.bfloat16)
        assert torch.equal(dequantize_experts(blocks, scales), expected)


def test_transformers_mislabelled_experts_are_noticed(tmp_path):
    """transformers 5.23 saves a dequantised model under the names of the packed tensors.

    transformers 4.57 names them rightly.
    """
    source = write_tiny(tmp_path / "source")
    mxfp4 = transformers.Mxfp4Config(dequantize=True)
    theirs = load_theirs(source, quantization_config=mxfp4, dtype=torch.bfloat16)
    theirs.save_pretrained(tmp_path / "target")
    if IS_4:
        checkpoint = open_checkpoint(tmp_path / "target")
        assert_same_tensors(theirs.state_dict(), dict(checkpoint.items()))
        return
    with pytest.raises(CheckpointError, match="under the name of MXFP4 blocks"):
        open_checkpoint(tmp_path / "target")
