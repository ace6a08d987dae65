"""Each CUDA kernel of a decode step against its plain twin in higher precision.

Outputs are poisoned before each run, inputs are fresh, and a second run must give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ossia.engine.randomness import uniform
from ossia.kernels import cuda
from ossia.kernels.decode import reference, several
from ossia.kernels.decode.argmax import argmax, num_slices
from ossia.kernels.decode.attention import PagedStep, attend_one, num_shares
from ossia.kernels.decode.draw import chances, draw
from ossia.kernels.decode.experts import X_SCALE, RoutedStep, project_down, project_up
from ossia.kernels.decode.launching import FEW_TOKENS, split_parts
from ossia.kernels.decode.norm import add_and_norm
from ossia.kernels.decode.projection import num_parts, project
from ossia.kernels.fp8 import FP8, to_fp8
from ossia.kernels.moe import ExpertWeights
from ossia.kernels.mxfp4 import Mxfp4Tensor, relay, unpack
from ossia.kernels.norm import rms_norm
from ossia.kernels.rope import rope_table, yarn_inverse_frequencies
from support.draws import check_draws

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda", 0)
BF16 = {"dtype": torch.bfloat16, "device": DEVICE}
ALL_SIZES = range(1, 17)
SLAB_SIZES = [*ALL_SIZES, 17, 23, 24, 25, 31, 32, 33]


@pytest.fixture(autouse=True)
def _cuda_sources_run():
    if reason := cuda.why_not(DEVICE):
        pytest.fail(f"CUDA sources cannot run here: {reason}")


def distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative, NaN where anything was left unwritten."""
    expected = expected.double()
    return float((actual.double() - expected).norm() / expected.norm())


def twice(run: Callable[[], torch.Tensor]) -> torch.Tensor:
    first = run().clone()
    assert torch.equal(first, run()), "two runs differ"
    return first


@pytest.mark.parametrize("tokens", SLAB_SIZES)
@pytest.mark.parametrize(
    ("k", "rows"),
    [
        (2880, [4096, 512, 512]),
        (4096, [2880]),
        (64, [512, 64, 64]),
        (512, [64]),
        (96, [16, 16]),
        (32, [16]),
        (2880, [1608]),
    ],
)
def test_split_products(tokens, k, rows):
    x = torch.randn(tokens, k, **BF16)
    weights = [torch.randn(n, k, **BF16) for n in rows]
    parts = num_parts(tokens, k, sum(rows), DEVICE)

    def run() -> torch.Tensor:
        out = torch.full((parts, tokens, sum(rows)), torch.nan, device=DEVICE)
        project(x, weights, out)
        return out.sum(0)

    assert distance(twice(run), reference.project(x.double(), weights)) < 5e-6


@pytest.mark.parametrize("tokens", SLAB_SIZES)
@pytest.mark.parametrize(("k", "rows"), [(2880, 40_003), (64, 1000), (96, 7)])
def test_whole_products(tokens, k, rows):
    x, weight = torch.randn(tokens, k, **BF16), torch.randn(rows, k, **BF16)

    def run() -> torch.Tensor:
        out = torch.full((1, tokens, rows), torch.nan, device=DEVICE)
        project(x, [weight], out)
        return out[0]

    assert distance(twice(run), reference.project(x.double(), [weight])) < 5e-6


def _packed(*shape: int) -> Mxfp4Tensor:
    blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, device=DEVICE)
    return Mxfp4Tensor(blocks, torch.randint(112, 124, shape, dtype=torch.uint8, device=DEVICE))


def _filled(x: torch.Tensor, scale: float) -> torch.Tensor:
    columns = -(-x.shape[1] // 64) * 64
    out = torch.zeros(len(x), columns, dtype=x.dtype, device=x.device)
    out[:, : x.shape[1]] = x * scale
    return out


@pytest.mark.parametrize("tokens", range(1, FEW_TOKENS + 1))
@pytest.mark.parametrize(
    ("experts", "top_k", "hidden", "ffn"),
    [(32, 4, 2880, 2880), (4, 2, 64, 64), (5, 1, 32, 96), (40, 8, 160, 32)],
)
def test_experts(tokens, experts, top_k, hidden, ffn):
    gate_up, down = _packed(experts, 2 * ffn, hidden // 32), _packed(experts, hidden, ffn // 32)
    biases = torch.randn(experts, 2 * ffn, **BF16), torch.randn(experts, hidden, **BF16)
    x = torch.randn(tokens, hidden, **BF16)
    logits = torch.randn(tokens, experts, **BF16).float()
    absent = tokens - 1 if tokens > 2 else None
    positions = torch.arange(tokens, dtype=torch.int32, device=DEVICE)
    if absent is not None:
        positions[absent] = -1
    routed = RoutedStep(logits=logits, positions=positions, top_k=top_k)
    relaid_up, relaid_down = relay(gate_up, paired=True), relay(down, paired=False)
    parts = split_parts(hidden, DEVICE)

    def run() -> torch.Tensor:
        inner = _filled(torch.zeros(tokens * top_k, ffn, **BF16), 1)
        inner[:, :ffn] = torch.nan
        if absent is not None:
            inner[absent * top_k :] = 0
        out = torch.full((parts, tokens, hidden), torch.nan, device=DEVICE)
        project_up(_filled(x, X_SCALE), routed, relaid_up, biases[0], 1.702, 7.0, inner)
        project_down(inner, routed, relaid_down, biases[1], out)
        return out.sum(0)

    layer = ExpertWeights(
        gate_up=gate_up, gate_up_bias=biases[0].double(), down=down, down_bias=biases[1].double(),
        alpha=1.702, limit=7.0,
    )  # fmt: skip
    expected = reference.run_experts(x.double(), logits.bfloat16(), positions, top_k, layer)
    assert distance(twice(run), expected) < 4e-3


@pytest.mark.parametrize("tokens", range(1, several.CHOOSING_TOKENS + 1))
@pytest.mark.parametrize(
    ("experts", "top_k", "hidden", "ffn"),
    [(32, 4, 2880, 2880), (128, 4, 2880, 2880), (4, 2, 64, 64), (5, 1, 32, 96), (40, 8, 160, 992)],
)
@pytest.mark.parametrize("absent", [None, 0, -1])
def test_all_experts_in_one_kernel(tokens, experts, top_k, hidden, ffn, absent):
    if not several.fits(tokens, top_k, experts, (hidden, ffn), DEVICE):
        pytest.skip("made for Hopper")
    gate_up, down = _packed(experts, 2 * ffn, hidden // 32), _packed(experts, hidden, ffn // 32)
    biases = torch.randn(experts, 2 * ffn, **BF16), torch.randn(experts, hidden, **BF16)
    x = torch.randn(tokens, hidden, **BF16)
    logits = torch.randn(tokens, experts, **BF16).float()
    positions = torch.arange(tokens, dtype=torch.int32, device=DEVICE)
    if absent is not None:
        positions[absent] = -1
    routed = RoutedStep(logits=logits, positions=positions, top_k=top_k)
    relaid = relay(gate_up, paired=True), relay(down, paired=False)
    arrivals = torch.zeros(1, dtype=torch.int64, device=DEVICE)

    def run() -> torch.Tensor:
        inner = _filled(torch.zeros(tokens * top_k, ffn, **BF16), 1)
        inner[:, :ffn] = torch.nan
        out = torch.full((top_k, tokens, hidden), torch.nan, device=DEVICE)
        several.run_several(
            _filled(x, X_SCALE), routed, relaid, biases, 1.702, 7.0, inner, out, arrivals
        )  # fmt: skip
        return out.sum(0)[positions >= 0]

    layer = ExpertWeights(
        gate_up=gate_up, gate_up_bias=biases[0].double(), down=down, down_bias=biases[1].double(),
        alpha=1.702, limit=7.0,
    )  # fmt: skip
    expected = reference.run_experts(x.double(), logits.bfloat16(), positions, top_k, layer)
    there = positions >= 0
    if there.any():
        assert distance(twice(run), expected[there]) < 4e-3
    else:
        run()


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("shape", [(2, 5760, 90), (3, 64, 3)])
def test_expanded_experts(shape, paired):
    from ossia.kernels.mxfp4.cuda_expand import expand

    packed = _packed(*shape)
    for idx in range(shape[0]):
        expected = unpack(packed.blocks[idx], packed.scales[idx])
        assert torch.equal(expand(relay(packed, paired=paired), idx), expected)


@pytest.mark.parametrize("tokens", [*ALL_SIZES, 129, 512])
@pytest.mark.parametrize(("hidden", "experts"), [(2880, 32), (2880, 128), (64, 4), (96, 11)])
@pytest.mark.parametrize("in_places", [False, True])
def test_norm_and_router(tokens, hidden, experts, in_places):
    before, weight, bias = (torch.randn(n, hidden, **BF16) for n in (tokens, 1, 1))
    parts = torch.randn(3, tokens, hidden, device=DEVICE)
    router, router_bias = torch.randn(experts, hidden, **BF16), torch.randn(experts, **BF16)
    after, normed = torch.full((2, tokens, hidden), torch.nan, **BF16)
    logits = torch.full((tokens, experts), torch.nan, device=DEVICE)

    def run() -> torch.Tensor:
        add_and_norm(
            before, weight[0], 1e-5, after, normed, parts=parts, bias=bias[0], scale=0.5,
            router=(router, router_bias, logits), in_places=in_places,
        )  # fmt: skip
        return logits

    twice(run)
    added = parts.double().sum(0) + bias.double()
    total, _ = reference.add_and_norm(before.double(), added, weight[0].double(), 1e-5)
    assert distance(after, total) < 5e-3
    exact = rms_norm(after.double(), weight[0].double(), 1e-5)
    _, placed = reference.add_and_norm(
        after.double(), torch.zeros_like(after), weight[0].double(), 1e-5, in_places=in_places
    )
    assert distance(normed, placed / 2) < 3e-3
    assert distance(logits, exact @ router.double().T + router_bias.double()) < 5e-3


def test_embedding_and_rope():
    table, weight = torch.randn(50, 96, **BF16), torch.randn(96, **BF16)
    ids = torch.tensor([3, 49, 0], dtype=torch.int32, device=DEVICE)
    positions = torch.tensor([0, 131_071, 777], dtype=torch.int32, device=DEVICE)
    frequencies = yarn_inverse_frequencies(
        64, 150_000.0, factor=32.0, beta_fast=32.0, beta_slow=1.0, original_context=4096, truncate=False
    ).to(DEVICE)  # fmt: skip
    after, normed = torch.full((2, 3, 96), torch.nan, **BF16)
    rope = torch.full((3, 2, 32), torch.nan, device=DEVICE)
    add_and_norm(
        table, weight, 1e-5, after, normed, ids=ids, rope=(frequencies, 1.25, positions, rope),
        overlap=False,
    )  # fmt: skip
    assert torch.equal(after, table[ids.long()])
    assert distance(normed, rms_norm(after.double(), weight.double(), 1e-5)) < 3e-3
    for actual, expected in zip(
        rope.unbind(1), rope_table(positions, frequencies, 1.25), strict=True
    ):
        assert float((actual - expected).abs().max()) < 1e-6


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


@pytest.mark.parametrize("window", [None, 128])
@pytest.mark.parametrize(("heads", "kv_heads"), [(64, 8), (8, 1), (6, 2)])
@pytest.mark.parametrize(
    ("tokens", "longest"),
    [(tokens, longest) for tokens in (1, 3, 8, 16) for longest in (1, 130, 700, 9000)]
    + [(48, 700), (64, 2000), (95, 300), (96, 900), (129, 700), (512, 300)],
)
def test_attention(tokens, longest, window, heads, kv_heads):
    page_size = 16
    lens = [max(1, longest - 37 * i) for i in range(tokens)]
    width = -(-longest // page_size)
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
    assert distance(actual, expected) < 6e-3


@pytest.mark.parametrize("window", [None, 128, 5])
@pytest.mark.parametrize(("heads", "kv_heads", "page_size"), [(64, 8, 16), (8, 1, 8), (6, 2, 3)])
@pytest.mark.parametrize(
    ("tokens", "longest"),
    [(tokens, longest) for tokens in (1, 2, 5, 16) for longest in (1, 33, 257, 700, 9000)]
    + [(64, 700), (129, 400), (300, 150)],
)
def test_attention_over_pages_in_fp8(tokens, longest, window, heads, kv_heads, page_size):
    """Whatever a step must not read is NaN, and it writes nothing but its own keys and values."""
    positions = torch.tensor(
        [max(0, longest - 1 - 37 * i) for i in range(tokens)], dtype=torch.int32, device=DEVICE
    )
    width = longest // page_size + 1
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
    assert distance(actual, expected) < 6e-3
    # The reference has put what is new to its own pages. A last bit of bfloat16 may decide for another number.
    assert distance(written[:, own].view(FP8), bits[:, own].view(FP8)) < 2e-2
    assert float(written[1, own].view(FP8).float().abs().max()) == 448
    written[:, own] = poisoned[:, own]
    assert torch.equal(written, poisoned)


@pytest.mark.parametrize("tokens", [*ALL_SIZES, 129, 512])
@pytest.mark.parametrize(("vocab", "end"), [(201_088, 200_019), (77, 50)])
@pytest.mark.parametrize("on_host", [False, True], ids=["device", "host"])
def test_argmax(tokens, vocab, end, on_host):
    logits = torch.randn(tokens, vocab, device=DEVICE).bfloat16().float()  # with ties
    logits[:, end:] = 100
    ids = torch.full((tokens,), -7, dtype=torch.int32, device=DEVICE)
    positions = torch.arange(tokens, dtype=torch.int32, device=DEVICE) - 1
    scratch = torch.zeros(tokens, num_slices(tokens), dtype=torch.int64, device=DEVICE)
    arrivals = torch.zeros(tokens, dtype=torch.int32, device=DEVICE)
    out = torch.full((2, 2, tokens), -5, dtype=torch.int32, device="cpu" if on_host else DEVICE)
    out = out.pin_memory() if on_host else out
    rows, parity = torch.arange(tokens), positions.cpu() & 1
    argmax(logits, end, ids, positions, out, (scratch, arrivals))
    torch.cuda.synchronize()
    expected, values = reference.argmax(logits.cpu(), end)
    assert out[parity, 0, rows].tolist() == [-5, *expected.tolist()[1:]]
    assert torch.equal(out[parity, 1, rows][1:].view(torch.float32).cpu(), values[1:])
    assert (out[1 - parity, :, rows] == -5).all(), "what the step before left stays"
    assert ids.tolist() == [-7, *expected.tolist()[1:]]
    assert positions.tolist() == [-1, *range(1, tokens)]
    assert not arrivals.any()
    logits[-1, 3], positions[-1] = torch.nan, 6
    argmax(logits, end, ids, positions, out, (scratch, arrivals))
    torch.cuda.synchronize()
    assert out.view(torch.float32)[0, 1, -1].isnan()


@pytest.mark.parametrize("tokens", [*ALL_SIZES, 129, 512])
@pytest.mark.parametrize(("vocab", "end"), [(201_088, 200_019), (77, 50)])
@pytest.mark.parametrize("spread", [1.0, 6.0])
def test_draw(tokens, vocab, end, spread):
    """Weights added up to the id that is drawn pass the row's number, and those before it do not."""
    logits = (torch.randn(tokens, vocab, device=DEVICE) * spread).bfloat16().float()
    logits[:, end:] = 100
    logits[::3, : end // 2] = -torch.inf  # whole slices without a weight
    logits[0, :end] = -torch.inf
    logits[0, end // 3] = -4.0
    temperatures = [(0.0, 0.3, 1.0, 2.5)[(row + tokens) % 4] for row in range(tokens)]
    every = range(tokens)
    seeds = [7**row % 2**63 for row in every]
    given = chances(seeds, [row % 3 for row in every], [row - 2 for row in every], temperatures)
    given = torch.from_numpy(given).to(DEVICE)
    slices = num_slices(tokens)
    scratch = (
        torch.full((tokens, slices), -1, dtype=torch.int64, device=DEVICE),
        torch.full((tokens, slices), torch.nan, dtype=torch.float64, device=DEVICE),
        torch.full((tokens,), torch.nan, dtype=torch.float64, device=DEVICE),
        torch.zeros(tokens, dtype=torch.int32, device=DEVICE),
    )
    _, largest = reference.argmax(logits.cpu(), end)
    for turn in range(3):
        ids = torch.full((tokens,), -7, dtype=torch.int32, device=DEVICE)
        positions = torch.arange(tokens, dtype=torch.int32, device=DEVICE) + turn
        out = torch.full((2, 2, tokens), -5, dtype=torch.int32, device=DEVICE)
        draw(logits, end, given, ids, positions, out, scratch)
        torch.cuda.synchronize()
        assert positions.tolist() == [row + turn + 1 for row in range(tokens)]
        assert not scratch[3].any()
        parity, rows = (torch.arange(tokens) + turn) & 1, torch.arange(tokens)
        assert out.cpu()[parity, 0, rows].tolist() == ids.tolist()
        assert torch.equal(out.cpu()[parity, 1, rows].view(torch.float32), largest)
        assert (out.cpu()[1 - parity, :, rows] == -5).all()
        numbers = [uniform(seeds[row], row % 3, turn + 2) for row in every]
        check_draws(logits[:, :end], ids.tolist(), temperatures, numbers)
    logits[-1, 3], positions[-1] = torch.nan, 6
    draw(logits, end, given, ids, positions, out, scratch)
    torch.cuda.synchronize()
    assert out.view(torch.float32)[0, 1, -1].isnan()
    assert 0 <= int(ids[-1]) < vocab


def test_draws_come_as_often_as_they_are_likely():
    logits = torch.tensor([0.0, 1.0, -torch.inf, 2.0, 0.5], device=DEVICE).repeat(512, 1)
    shares = logits[0].softmax(0)
    slices = num_slices(512)
    scratch = (
        torch.zeros(512, slices, dtype=torch.int64, device=DEVICE),
        torch.zeros(512, slices, dtype=torch.float64, device=DEVICE),
        torch.zeros(512, dtype=torch.float64, device=DEVICE),
        torch.zeros(512, dtype=torch.int32, device=DEVICE),
    )
    counts, none = torch.zeros(5), [0] * 512
    out = torch.zeros(2, 2, 512, dtype=torch.int32, device=DEVICE)
    for turn in range(40):
        numbers = chances(range(512 * turn, 512 * turn + 512), none, none, [1.0] * 512)
        ids, positions = torch.zeros(2, 512, dtype=torch.int32, device=DEVICE)
        draw(logits, 5, torch.from_numpy(numbers).to(DEVICE), ids, positions, out, scratch)
        counts += ids.cpu().bincount(minlength=5)
    assert float((counts / counts.sum() - shares.cpu()).abs().max()) < 0.02
