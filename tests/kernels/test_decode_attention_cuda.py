"""Attention of a decode step on CUDA against its plain twin in higher precision, over pages of both kinds.

Outputs are poisoned before each run, inputs are fresh, and a second run must give the same bits.
"""

from __future__ import annotations

import pytest
import torch

from ossia.kernels import cuda
from ossia.kernels.decode import reference
from ossia.kernels.decode.attention import PagedStep, attend_one, num_shares
from ossia.kernels.fp8 import FP8, to_fp8
from support.kernel_runs import distance, twice

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda", 0)
BF16 = {"dtype": torch.bfloat16, "device": DEVICE}


@pytest.fixture(autouse=True)
def _cuda_sources_run():
    if reason := cuda.why_not(DEVICE):
        pytest.fail(f"CUDA sources cannot run here: {reason}")


def distance_of_rows(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """With rows that count alike: the more keys, the smaller they are."""
    sizes = expected.double().norm(dim=1, keepdim=True)
    return distance(actual.double() / sizes, expected.double() / sizes)


def _paged_step(
    table: torch.Tensor, positions: torch.Tensor, kv_heads: int
) -> tuple[PagedStep, torch.Tensor, torch.Tensor]:
    """A step whose second group has this table, and its cosines and sines, of any angles."""
    tokens, width = table.shape
    angles = torch.randn(tokens, 32, device=DEVICE)
    cos, sin = angles.cos() * 1.3, angles.sin() * 1.3
    shares = num_shares(tokens, kv_heads, DEVICE)
    step = PagedStep(
        positions=positions,
        table=torch.stack((torch.zeros_like(table), table), 1).contiguous(),
        width=torch.tensor([width], dtype=torch.int32, device=DEVICE),
        groups=2,
        rope=torch.stack((cos, sin), 1).contiguous(),
        scratch=torch.full(PagedStep.scratch_shape(tokens, kv_heads, shares), torch.nan, device=DEVICE),
        arrivals=torch.zeros(tokens, kv_heads, dtype=torch.int32, device=DEVICE),
    )  # fmt: skip
    return step, cos, sin


def check_attention(lens: list[int], window: int | None, heads: int, kv_heads: int) -> None:
    """With sequences of so many tokens, the new ones included."""
    page_size, tokens = 16, len(lens)
    width = -(-max(lens) // page_size)
    pages = torch.randn(2, tokens * width + 1, page_size, kv_heads, 64, **BF16)
    order = torch.randperm(tokens * width, device=DEVICE).int() + 1
    table = order.view(tokens, width)
    positions = torch.tensor([n - 1 for n in lens], dtype=torch.int32, device=DEVICE)
    rows = (heads + 2 * kv_heads) * 64
    qkv = torch.randn(2, tokens, rows, device=DEVICE)
    biases = [torch.randn(n * 64, **BF16) for n in (heads, kv_heads, kv_heads)]
    sinks = torch.randn(heads, **BF16)
    step, cos, sin = _paged_step(table, positions, kv_heads)
    written = pages.clone()

    def run() -> torch.Tensor:
        out = torch.full((tokens, heads * 64), torch.nan, **BF16)
        attend_one(qkv, tuple(biases), sinks, tuple(written), step, 1, window, out)
        return out

    actual = twice(run)
    assert not step.arrivals.any()
    biased = (qkv.sum(0) + torch.cat(biases).float()).bfloat16()
    expected = reference.attend_one(
        biased, (cos, sin), sinks.double(), (pages[0], pages[1]), table, positions, window
    )
    assert float((written.float() - pages.float()).abs().max()) < 0.04
    assert distance_of_rows(actual, expected) < 6e-3


def check_attention_in_fp8(
    lens: list[int], window: int | None, heads: int, kv_heads: int, page_size: int
) -> None:
    """Whatever a step must not read is NaN, and it writes nothing but its own keys and values."""
    tokens = len(lens)
    positions = torch.tensor([n - 1 for n in lens], dtype=torch.int32, device=DEVICE)
    width = max(lens) // page_size + 1
    table = (torch.randperm(tokens * width, device=DEVICE).int() + 1).view(tokens, width)
    pages = to_fp8(torch.randn(2, tokens * width + 1, page_size, kv_heads, 64, device=DEVICE) * 2)
    at = torch.arange(width * page_size, device=DEVICE)
    slots = table[:, at // page_size].long() * page_size + at % page_size  # (tokens, places)
    own = slots.gather(1, positions.long()[:, None])[:, 0]
    first = 0 if window is None else positions[:, None] - window + 1
    seen = slots[(at < positions[:, None]) & (at >= first)]
    bits = pages.view(torch.uint8).view(2, -1, kv_heads, 64)
    poisoned = torch.full_like(bits, 0x7F)
    poisoned[:, seen] = bits[:, seen]
    written = poisoned.clone()
    rows = (heads + 2 * kv_heads) * 64
    qkv = torch.randn(2, tokens, rows, device=DEVICE)
    qkv[:, :, -1] = 1000.0  # values that are too large
    biases = [torch.randn(n * 64, **BF16) for n in (heads, kv_heads, kv_heads)]
    sinks = torch.randn(heads, **BF16)
    step, cos, sin = _paged_step(table, positions, kv_heads)
    kept = written.view(FP8).view(pages.shape)

    def run() -> torch.Tensor:
        out = torch.full((tokens, heads * 64), torch.nan, **BF16)
        attend_one(qkv, tuple(biases), sinks, (kept[0], kept[1]), step, 1, window, out)
        return out

    actual = twice(run)
    assert not step.arrivals.any()
    biased = (qkv.sum(0) + torch.cat(biases).float()).bfloat16()
    expected = reference.attend_one(
        biased, (cos, sin), sinks.double(), (pages[0], pages[1]), table, positions, window
    )
    assert distance_of_rows(actual, expected) < 6e-3
    # The reference has put what is new to its own pages. A last bit of bfloat16 may decide for another number.
    assert distance(written[:, own].view(FP8), bits[:, own].view(FP8)) < 2e-2
    assert float(written[1, own].view(FP8).float().abs().max()) == 448
    written[:, own] = poisoned[:, own]
    assert torch.equal(written, poisoned)


def _shorter_and_shorter(tokens: int, longest: int) -> list[int]:
    return [max(1, longest - 37 * i) for i in range(tokens)]


@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize(("heads", "kv_heads"), [(64, 8), (8, 1), (6, 2)])
@pytest.mark.parametrize(
    ("tokens", "longest"),
    [(tokens, longest) for tokens in (1, 3, 8, 16) for longest in (1, 130, 700, 9000)]
    + [(48, 700), (64, 2000), (95, 300), (96, 900), (129, 700), (512, 300)],
)
def test_attention(tokens, longest, window, heads, kv_heads):
    check_attention(_shorter_and_shorter(tokens, longest), window, heads, kv_heads)


@pytest.mark.parametrize("window", [None, 128, 5])
@pytest.mark.parametrize(("heads", "kv_heads", "page_size"), [(64, 8, 16), (8, 1, 8), (6, 2, 3)])
@pytest.mark.parametrize(
    ("tokens", "longest"),
    [(tokens, longest) for tokens in (1, 2, 5, 16) for longest in (1, 33, 257, 700, 9000)]
    + [(64, 700), (129, 400), (300, 150)],
)
def test_attention_over_pages_in_fp8(tokens, longest, window, heads, kv_heads, page_size):
    check_attention_in_fp8(
        _shorter_and_shorter(tokens, longest), window, heads, kv_heads, page_size
    )


def _of_any_lengths(tokens: int) -> list[int]:
    """From a few tokens to thousands, so that some are cut into shares and some are not."""
    return [int(4000**power) for power in torch.rand(tokens).tolist()]


@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize("tokens", range(1, 17))
def test_every_number_of_sequences(tokens, window):
    check_attention(_of_any_lengths(tokens), window, 64, 8)


@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize("tokens", range(1, 17))
def test_every_number_of_sequences_over_pages_in_fp8(tokens, window):
    check_attention_in_fp8(_of_any_lengths(tokens), window, 64, 8, 16)
