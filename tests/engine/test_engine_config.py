import dataclasses
from types import SimpleNamespace

import pytest
import torch

from ossia import log
from ossia.cache.allocator import PageAllocator
from ossia.cache.layout import KVLayout
from ossia.config import ModelConfig
from ossia.engine import precision, runner
from ossia.engine.config import EngineConfig, StepLimits
from ossia.engine.core import EngineCore
from ossia.engine.kv_budget import layout_for, num_pages, pass_bytes, share_out
from ossia.errors import ConfigError
from support.models import small_config, small_model

_CPU = torch.device("cpu")


def _on_cuda(dtype: torch.dtype) -> SimpleNamespace:
    """As much of a parameter on a GPU as the runner asks about."""
    return SimpleNamespace(dtype=dtype, device=torch.device("cuda", 0))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"page_size": 0}, "page_size is 0; it must be a positive integer"),
        ({"page_size": None}, "page_size is None; it must be a positive integer"),
        ({"max_sequences": 2.0}, "max_sequences is 2.0; it must be a positive integer"),
        ({"prefill_chunk": True}, "prefill_chunk is True; it must be a positive integer"),
        ({"num_pages": -1}, "num_pages is -1; it must be a positive integer"),
        ({"num_pages": 5, "kv_cache_bytes": 5}, "both set; keep one"),
        ({"memory_share": 1.5}, "memory_share is 1.5; it must be above 0 and at most 1"),
        ({"memory_share": "0.5"}, "memory_share is '0.5'; it must be above 0"),
        ({"kv_dtype": "int4"}, "kv_dtype is 'int4'; known: auto, float16"),
        ({"kv_dtype": "fp8", "page_size": 5}, "page_size=5 is odd; with kv_dtype='fp8'"),
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


def test_a_share_of_the_memory_counts_what_is_in_use(monkeypatch):
    cuda, gib = torch.device("cuda", 0), 2**30
    page = layout().page_bytes(2)

    def gibs(share: float, free: int, reserve: int = 0) -> float:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * gib, 80 * gib))
        config = EngineConfig(memory_share=share)
        count = num_pages(config, layout(), 131_072, 2, cuda, 10**6, reserve)
        return count * page / gib

    assert gibs(0.75, 65) == pytest.approx(45, abs=0.01)
    assert gibs(0.75, 45) == pytest.approx(25, abs=0.01)  # a copy of the weights was made
    assert gibs(1.0, 65, 3 * gib) == pytest.approx(62, abs=0.01)
    assert gibs(0.75, 65, 3 * gib) == pytest.approx(42, abs=0.01)
    with pytest.raises(
        ConfigError, match=r"0\.25 of 85\.9 GB leaves nothing .* 64\.4 GB being in use"
    ):
        gibs(0.25, 20)
    with pytest.raises(ConfigError, match=r"64\.4 GB being in use and 3\.2 GB what passes need"):
        gibs(0.75, 20, 3 * gib)
    config = EngineConfig(memory_share=0.1, num_pages=7)
    assert num_pages(config, layout(), 1000, 4, cuda, 64) == 7
    assert num_pages(EngineConfig(memory_share=0.5), layout(), 160, 4, _CPU, 3) == 3 * 2 * 11


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
    assert precision.kv_dtype(config, torch.empty(0), 64) is torch.int8
    with pytest.raises(ConfigError, match="kv_dtype='int8' is for models on the CPU"):
        precision.kv_dtype(config, torch.empty(0, device="meta"), 64)


@pytest.mark.parametrize(
    ("weight", "head_dim", "message"),
    [
        (torch.empty(0, dtype=torch.bfloat16), 64, "kv_dtype='fp8' is for models on CUDA"),
        (torch.empty(0, device="meta"), 64, "kv_dtype='fp8' is for models on CUDA"),
        (_on_cuda(torch.float16), 64, "kv_dtype='fp8' is for models in bfloat16; leave it out"),
        (_on_cuda(torch.bfloat16), 40, "needs a head_dim that is a multiple of 16"),
        (_on_cuda(torch.bfloat16), 64, "needs compute capability 9.0 or newer"),
    ],
)
def test_what_fp8_is_for(monkeypatch, weight, head_dim, message):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 9))
    with pytest.raises(ConfigError, match=message) as caught:
        precision.kv_dtype(EngineConfig(kv_dtype="fp8"), weight, head_dim)
    assert str(caught.value).endswith("leave it out for this one")


def test_a_hopper_has_fp8(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    found = precision.kv_dtype(EngineConfig(kv_dtype="fp8"), _on_cuda(torch.bfloat16), 64)
    assert found is torch.float8_e4m3fn


def test_a_cpu_engine_refuses_fp8():
    with pytest.raises(ConfigError, match="kv_dtype='fp8' is for models on CUDA"):
        EngineCore(small_model().bfloat16(), EngineConfig(kv_dtype="fp8", num_pages=8))


def test_fp8_holds_the_contexts_that_it_promises(monkeypatch):
    """gpt-oss-20b with so many bytes: tokens of a long sequence, and how many sequences of usual ones."""
    cuda, free = torch.device("cuda", 0), 8 * 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 80 * 2**30))
    model, found = ModelConfig(num_hidden_layers=24, num_experts=32), {}
    for kv_dtype, row_bytes in (("auto", 128), ("fp8", 64)):
        config = EngineConfig(kv_dtype=kv_dtype, kv_cache_bytes=2**30)
        pages = layout_for(config, model)
        assert pages.page_bytes(row_bytes) == 2 * 12 * 16 * 8 * row_bytes
        count = num_pages(config, pages, 131_072, row_bytes, cuda, 512)
        assert count == 2**30 // pages.page_bytes(row_bytes)
        book = PageAllocator(
            windows=pages.windows, page_size=pages.page_size, page_sizes=pages.page_sizes,
            num_pages=count, prefix_reuse=False,
        )  # fmt: skip
        longest = max(n for n in range(0, 131_072, 16) if book.pages_to_hold(n) <= count)
        limits, _ = share_out(
            EngineConfig(kv_dtype=kv_dtype), model, pages, 131_072, row_bytes, cuda
        )
        found[kv_dtype] = longest, limits.max_sequences
    # A page is 393,216 bytes, or half of that. A window of 128 touches 9 pages of 16 tokens, or 17 of 8; all
    # others hold 16 tokens of full layers.
    assert found["auto"][0] == (2730 - 9) * 16
    assert found["fp8"][0] == (5461 - 17) * 16
    assert found["fp8"][1] > 1.5 * found["auto"][1]


@pytest.mark.parametrize(("device", "said"), [("cuda", 1), ("cpu", 0)])
def test_a_gpu_without_graphs_says_why(monkeypatch, caplog, device, said):
    monkeypatch.setattr(log, "_said", set())
    model = small_model().half()
    for _ in range(2):
        given = EngineConfig(), model, torch.float16, torch.device(device)
        assert not runner._steps_are_graphs(*given)
    assert [one.levelname for one in caplog.records] == ["WARNING"] * said
    assert all("many times slower" in one.message for one in caplog.records)
    assert not runner._steps_are_graphs(
        EngineConfig(cuda_graphs=False), model, torch.float16, torch.device(device)
    )
    assert len(caplog.records) == said
