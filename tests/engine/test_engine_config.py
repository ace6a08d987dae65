import dataclasses

import pytest
import torch

from ossia.cache.layout import KVLayout
from ossia.config import ModelConfig
from ossia.engine import runner
from ossia.engine.config import EngineConfig, StepLimits
from ossia.engine.kv_budget import num_pages, pass_bytes, share_out
from ossia.errors import ConfigError
from support.models import small_config

_CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"page_size": 0}, "page_size is 0; it must be a positive integer"),
        ({"page_size": None}, "page_size is None; it must be a positive integer"),
        ({"max_sequences": 2.0}, "max_sequences is 2.0; it must be a positive integer"),
        ({"prefill_chunk": True}, "prefill_chunk is True; it must be a positive integer"),
        ({"num_pages": -1}, "num_pages is -1; it must be a positive integer"),
        ({"num_pages": 5, "kv_cache_bytes": 5}, "both set; keep one"),
        ({"kv_dtype": "int4"}, "kv_dtype is 'int4'; known: auto, float16"),
        ({"max_batch_tokens": 8, "max_sequences": 9}, "every running sequence needs a token"),
    ],
)
def test_contradictions_are_refused(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        EngineConfig(**values)
    assert "\n" not in str(caught.value)


def test_every_integer_is_checked():
    for field in dataclasses.fields(EngineConfig):
        if field.name != "kv_dtype" and field.type != "bool":
            with pytest.raises(ConfigError, match=field.name):
                EngineConfig(**{field.name: "3"})


def layout() -> KVLayout:
    return KVLayout.of(small_config(), 16)


def test_pages_as_asked():
    assert num_pages(EngineConfig(num_pages=7), layout(), 1000, 4, _CPU, 64) == 7


def test_pages_from_bytes():
    page = layout().page_bytes(4)
    config = EngineConfig(kv_cache_bytes=9 * page + 1)
    assert num_pages(config, layout(), 1000, 4, _CPU, 64) == 9
    with pytest.raises(ConfigError, match="too small"):
        num_pages(EngineConfig(kv_cache_bytes=page), layout(), 1000, 4, _CPU, 64)


def test_passes_suit_the_device_unless_told_otherwise():
    small = StepLimits(max_batch_tokens=2048, prefill_chunk=512, max_sequences=64)
    assert EngineConfig().step_limits("cpu") == small
    large = StepLimits(max_batch_tokens=8192, prefill_chunk=8192, max_sequences=512)
    assert EngineConfig().step_limits("cuda") == large
    many = EngineConfig(max_sequences=10_000).step_limits("cuda")
    assert (many.max_batch_tokens, many.max_sequences) == (10_000, 10_000)
    told = EngineConfig(max_batch_tokens=100, prefill_chunk=7, max_sequences=5)
    asked = StepLimits(max_batch_tokens=100, prefill_chunk=7, max_sequences=5)
    assert told.step_limits("cuda") == asked


@pytest.mark.parametrize(
    ("values", "room", "expected"),
    [({}, 10_000, 512), ({}, 200, 200), ({}, 5, 64), ({"max_batch_tokens": 10}, None, 10),
     ({"max_sequences": 300}, 5, 300), ({"max_sequences": 3}, 10_000, 3)],
)  # fmt: skip
def test_as_many_sequences_as_the_cache_has_room_for(values, room, expected):
    assert EngineConfig(**values).step_limits("cuda", room).max_sequences == expected
    assert EngineConfig(**values).step_limits("cpu", room).max_sequences == min(
        expected, values.get("max_sequences", 64)
    )


@pytest.mark.parametrize(("free_gib", "sequences"), [(60, 512), (9, 240), (2, 64)])
def test_room_for_fewer_sequences_leaves_more_for_pages(monkeypatch, free_gib, sequences):
    cuda, free = torch.device("cuda", 0), free_gib * 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 80 * 2**30))
    model = ModelConfig(num_hidden_layers=24, num_experts=32)
    pages = KVLayout.of(model, 16)
    limits, count = share_out(EngineConfig(), model, pages, 131_072, 128, cuda)
    assert limits.max_sequences == pytest.approx(sequences, rel=0.1)
    given, same = share_out(
        EngineConfig(max_sequences=limits.max_sequences), model, pages, 131_072, 128, cuda
    )
    assert (given, same) == (limits, count)
    assert count * pages.page_bytes(128) <= max(
        2 * pages.page_bytes(128), free - pass_bytes(model, limits)
    )


def test_what_passes_need_is_left_free(monkeypatch):
    cuda, gib = torch.device("cuda", 0), 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10 * gib, 80 * gib))
    page = layout().page_bytes(2)

    def pages(reserve: int) -> int:
        return num_pages(EngineConfig(), layout(), 131_072, 2, cuda, 10**6, reserve)

    assert pages(0) == pages(gib // 2) == int(10 * gib * 0.9) // page
    assert pages(3 * gib) == 7 * gib // page
    assert pages(11 * gib) == 2  # one of each group; the rest is for the allocator to say


def test_passes_of_gpt_oss_need_more_for_more_tokens_and_sequences():
    model = ModelConfig(num_hidden_layers=24, num_experts=32)
    sizes = [
        pass_bytes(
            model,
            StepLimits(max_batch_tokens=tokens, prefill_chunk=tokens, max_sequences=sequences),
        )
        for tokens, sequences in [(512, 1), (8192, 1), (8192, 128)]
    ]
    assert sizes == sorted(sizes)
    # 8,192 tokens: at least the inner rows of four experts and four rows of what they say.
    assert sizes[1] - sizes[0] > 7680 * 8 * 2880 * 2
    assert sizes[2] < 3 * 2**30


def test_by_default_no_more_than_all_sequences_could_use():
    assert num_pages(EngineConfig(), layout(), 160, 4, _CPU, 3) == 3 * 2 * 11


def test_by_default_no_more_than_a_share_of_the_memory():
    pages = num_pages(EngineConfig(), layout(), 131_072, 2**22, _CPU, 64)
    assert 2 <= pages <= 2**43 // layout().page_bytes(2**22) + 2


def test_keys_and_values_of_8_bits_are_for_the_cpu():
    config = EngineConfig(kv_dtype="int8")
    assert runner._kv_dtype(config, torch.empty(0)) is torch.int8
    with pytest.raises(ConfigError, match="kv_dtype='int8' is for models on the CPU"):
        runner._kv_dtype(config, torch.empty(0, device="meta"))
