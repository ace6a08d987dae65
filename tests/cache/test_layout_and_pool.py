import pytest
import torch

from ossia.cache.layout import KVLayout
from ossia.cache.pool import KVPool
from ossia.config import PRESETS
from ossia.kernels.fp8 import FP8
from support.models import small_config


def test_gpt_oss_pairs_each_full_layer_with_a_sliding_one():
    layout = KVLayout.of(PRESETS["20b"](), 16)
    assert layout.groups == ("full_attention", "sliding_attention")
    assert layout.windows == (None, 128)
    assert layout.num_slabs == 12
    assert [layout.slab_of(idx) for idx in range(6)] == [0, 0, 1, 1, 2, 2]
    # 12 layers x keys and values x 16 tokens x 8 heads x 64 numbers of 2 bytes
    assert layout.page_bytes(64 * 2) == 12 * 2 * 16 * 8 * 64 * 2


@pytest.mark.parametrize(
    ("types", "windows", "slabs"),
    [
        (("full_attention",) * 3, (None,), [0, 1, 2]),
        (("sliding_attention",) * 2, (8,), [0, 1]),
        (("sliding_attention", "full_attention", "sliding_attention"), (None, 8), [0, 0, 1]),
    ],
)
def test_layers_of_one_group_never_share_a_slab(types, windows, slabs):
    layout = KVLayout.of(small_config(num_hidden_layers=len(types), layer_types=types), 4)
    assert layout.windows == windows
    assert [layout.slab_of(idx) for idx in range(len(types))] == slabs
    assert layout.num_slabs == max(slabs) + 1


def test_pool_shapes_and_size_agree_with_the_layout():
    config = small_config(num_hidden_layers=3)
    layout = KVLayout.of(config, 4)
    pool = KVPool(layout, 5, [torch.bfloat16] * 2, torch.device("cpu"))
    assert len(pool.k_pages) == len(pool.v_pages) == 3
    assert {tensor.shape for tensor in (*pool.k_pages, *pool.v_pages)} == {(5, 4, 2, 16)}
    distinct = {tensor.data_ptr(): tensor for tensor in (*pool.k_pages, *pool.v_pages)}
    assert sum(tensor.nbytes for tensor in distinct.values()) == 5 * layout.page_bytes(16 * 2)
    narrow = KVPool(layout, 5, [torch.int8] * 2, torch.device("cpu"))
    assert narrow.k_pages[0].shape == (5, 4, 2, 20)
    assert (
        narrow.k_pages[0].nbytes + narrow.v_pages[0].nbytes
        == 5 * layout.page_bytes(20) // layout.num_slabs
    )


def test_a_page_of_wider_numbers_holds_fewer_tokens_in_the_same_bytes():
    config = small_config(num_hidden_layers=3)  # sliding, full, sliding
    layout = KVLayout.of(config, 4, 2)
    assert layout.page_sizes == (4, 2)
    assert layout.page_size == 4
    pool = KVPool(layout, 5, [FP8, torch.bfloat16], torch.device("cpu"))
    sliding, full, other = pool.k_pages
    assert (full.dtype, full.shape) == (FP8, (5, 4, 2, 16))
    assert (sliding.dtype, sliding.shape) == (torch.bfloat16, (5, 2, 2, 16))
    assert sliding.data_ptr() == full.data_ptr() != other.data_ptr()
    distinct = {tensor.data_ptr(): tensor for tensor in (*pool.k_pages, *pool.v_pages)}
    assert sum(tensor.nbytes for tensor in distinct.values()) == 5 * layout.page_bytes(16)
    assert all(tensor.is_contiguous() for tensor in distinct.values())
    # Page 1 is a full layer's, page 2 a sliding one's: neither sees the other's numbers.
    full[1] = torch.arange(4.0).view(4, 1, 1).expand(4, 2, 16).to(FP8)
    sliding[2] = 300.0
    pool.copy([(1, 3), (2, 4)])
    assert full[3].float()[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert (sliding[4] == 300).all()


@pytest.mark.parametrize(
    ("types", "dtype"),
    [(("full_attention",) * 2, FP8), (("sliding_attention",) * 2, torch.bfloat16)],
)
def test_layers_of_one_type_alone_have_pages_of_the_size_that_was_asked_for(types, dtype):
    layout = KVLayout.of(small_config(num_hidden_layers=2, layer_types=types), 4, 2)
    assert layout.page_sizes == (4,)
    pool = KVPool(layout, 3, [dtype], torch.device("cpu"))
    assert pool.k_pages[1].shape == (3, 4, 2, 16)
    pool.k_pages[1][0] = torch.ones(4, 2, 16).to(dtype)
    pool.copy([(0, 2)])
    assert (pool.k_pages[1][2].float() == 1).all()


def test_copy_reads_all_sources_before_it_writes():
    pool = KVPool(KVLayout.of(small_config(), 4), 4, [torch.float32] * 2, torch.device("cpu"))
    for tensor in (*pool.k_pages, *pool.v_pages):
        tensor.copy_(torch.arange(4.0).view(4, 1, 1, 1).expand_as(tensor))
    pool.copy([(0, 1), (1, 2)])
    pool.copy([])
    for tensor in (*pool.k_pages, *pool.v_pages):
        assert [float(tensor[page].unique()) for page in range(4)] == [0.0, 0.0, 1.0, 3.0]
