from dataclasses import replace

import pytest

from ossia.checkpoint.reader import open_checkpoint
from ossia.checkpoint.spec import TensorKind
from ossia.checkpoint.summary import summarize
from ossia.config import PRESETS
from ossia.machine import Memory
from support.checkpoints import tensor_bytes, tiny_config, write_tiny

GIB = 1 << 30


def memory(free_bytes: int, total_bytes: int = 0) -> Memory:
    return Memory("RAM", "cpu", total_bytes or free_bytes, free_bytes)


@pytest.mark.parametrize(
    ("preset", "parameters", "active", "nbytes"),
    [
        ("20b", 20_914_757_184, 3_608_307_264, 13_761_264_768),
        ("120b", 116_829_156_672, 5_132_849_472, 65_248_815_744),
    ],
)
def test_released_models(preset, parameters, active, nbytes):
    """The model card says 20.9 B with 3.6 B active, and 116.8 B with 5.1 B active."""
    summary = summarize(PRESETS[preset](), [])
    assert (summary.parameters, summary.active_parameters) == (parameters, active)
    assert summary.nbytes == nbytes == sum(summary.bytes_by_kind.values())
    # 8 heads of 64, keys and values, two bytes: 2 KiB a layer and token, in half of the layers.
    assert summary.kv_bytes_per_token == 1024 * summary.config.num_hidden_layers
    assert summary.kv_bytes_window == 128 * 1024 * summary.config.num_hidden_layers


def test_expert_format_changes_bytes_and_not_parameters():
    packed = summarize(PRESETS["20b"](), [])
    dense = summarize(replace(PRESETS["20b"](), expert_format="dense"), [])
    assert dense.parameters == packed.parameters
    assert dense.active_parameters == packed.active_parameters
    assert dense.nbytes == 2 * dense.parameters


@pytest.mark.parametrize("layout", ["hf", "original"])
def test_of_a_checkpoint(tmp_path, layout):
    folder = write_tiny(tmp_path / "it", layout=layout)
    checkpoint = open_checkpoint(folder)
    summary = summarize(checkpoint, [])
    assert (summary.folder, summary.layout) == (folder, layout)
    assert {spec.name for spec in summary.tensors} == set(tensor_bytes(checkpoint))
    assert all(len(spec.dtypes) == 1 for spec in summary.tensors)
    assert summary.nbytes == checkpoint.nbytes
    shape_only = summarize(tiny_config(), [])
    assert replace(summary, folder=None, layout=None) == shape_only


def test_where_the_20b_fits():
    config = PRESETS["20b"]()
    small, tight, large = summarize(
        config, [memory(8 * GIB), memory(15 * GIB), memory(80 * GIB)]
    ).fits
    assert not small.fits
    assert small.context_tokens == 0
    assert small.short_bytes == 13_761_264_768 + GIB - 8 * GIB
    assert tight.fits
    assert 0 < tight.context_tokens < 131_072
    assert large.context_tokens == 131_072
    assert large.short_bytes == 0
    assert (small.kv_tokens, tight.kv_tokens) == (0, tight.context_tokens)
    assert large.kv_tokens > 131_072


def test_each_further_token_needs_its_cache():
    config = PRESETS["20b"]()
    summary = summarize(config, [])
    base = summary.nbytes + summary.kv_bytes_window + GIB

    def tokens(extra: int) -> int:
        [fit] = summarize(config, [memory(base + extra)]).fits
        return fit.context_tokens

    one = summary.kv_bytes_per_token
    assert [tokens(extra) for extra in (0, one - 1, one, 7 * one + 1)] == [0, 0, 1, 7]


def test_a_part_of_a_large_memory_stays_free():
    summary = summarize(PRESETS["20b"](), [])
    free = summary.nbytes + 3 * GIB
    [used, fresh] = summarize(PRESETS["20b"](), [memory(free, 100 * GIB), memory(free)]).fits
    assert not used.fits
    assert fresh.fits


def test_sliding_layers_alone_bound_the_cache():
    config = tiny_config(layer_types=("sliding_attention",) * 2)
    [fit] = summarize(config, [memory(2 * GIB)]).fits
    assert fit.context_tokens == config.max_position_embeddings


def test_every_kind_is_counted():
    assert summarize(tiny_config(), []).bytes_by_kind.keys() == set(TensorKind)
