"""Each CUDA kernel of a decode step against its plain twin in higher precision.

Outputs are poisoned before each run, inputs are fresh, and a second run must give the same bits.
"""

from __future__ import annotations

import pytest
import torch

from ossia.engine.randomness import uniform
from ossia.kernels import cuda
from ossia.kernels.decode import reference, several
from ossia.kernels.decode.argmax import argmax, num_slices
from ossia.kernels.decode.draw import Chance, chances, draw, of_sets
from ossia.kernels.decode.experts import X_SCALE, RoutedStep, project_down, project_up
from ossia.kernels.decode.launching import FEW_TOKENS, split_parts
from ossia.kernels.decode.norm import add_and_norm
from ossia.kernels.decode.projection import num_parts, project
from ossia.kernels.moe import ExpertWeights
from ossia.kernels.mxfp4 import Mxfp4Tensor, relay, unpack
from ossia.kernels.norm import rms_norm
from ossia.kernels.rope import rope_table, yarn_inverse_frequencies
from support.draws import check_draws, packed
from support.kernel_runs import distance, twice

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda", 0)
BF16 = {"dtype": torch.bfloat16, "device": DEVICE}
ALL_SIZES = range(1, 17)
SLAB_SIZES = [*ALL_SIZES, 17, 23, 24, 25, 31, 32, 33]
PASS_SIZES = [*ALL_SIZES, 129, 512, 768, 1024]
"""Up to the largest graph of model/forward_graphs.py."""


@pytest.fixture(autouse=True)
def _cuda_sources_run():
    if reason := cuda.why_not(DEVICE):
        pytest.fail(f"CUDA sources cannot run here: {reason}")


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


def check_norm(
    tokens: int, hidden: int, router: tuple[torch.Tensor, ...] | None, *, in_places: bool
) -> torch.Tensor:
    """Returns the norm in float64, of which a router's logits are."""
    before, weight, bias = (torch.randn(n, hidden, **BF16) for n in (tokens, 1, 1))
    parts = torch.randn(3, tokens, hidden, device=DEVICE)
    after, normed = torch.full((2, tokens, hidden), torch.nan, **BF16)

    def run() -> torch.Tensor:
        add_and_norm(
            before, weight[0], 1e-5, after, normed, parts=parts, bias=bias[0], scale=0.5,
            router=router, in_places=in_places,
        )  # fmt: skip
        return normed if router is None else router[-1]

    twice(run)
    added = parts.double().sum(0) + bias.double()
    total, _ = reference.add_and_norm(before.double(), added, weight[0].double(), 1e-5)
    assert distance(after, total) < 5e-3
    exact = rms_norm(after.double(), weight[0].double(), 1e-5)
    _, placed = reference.add_and_norm(
        after.double(), torch.zeros_like(after), weight[0].double(), 1e-5, in_places=in_places
    )
    assert distance(normed, placed / 2) < 3e-3
    return exact


@pytest.mark.parametrize("tokens", [*ALL_SIZES, 129, 512])
@pytest.mark.parametrize(("hidden", "experts"), [(2880, 32), (2880, 128), (64, 4), (96, 11)])
@pytest.mark.parametrize("in_places", [False, True])
def test_norm_and_router(tokens, hidden, experts, in_places):
    router, router_bias = torch.randn(experts, hidden, **BF16), torch.randn(experts, **BF16)
    logits = torch.full((tokens, experts), torch.nan, device=DEVICE)
    exact = check_norm(tokens, hidden, (router, router_bias, logits), in_places=in_places)
    assert distance(logits, exact @ router.double().T + router_bias.double()) < 5e-3


@pytest.mark.parametrize("tokens", PASS_SIZES)
@pytest.mark.parametrize("hidden", [2880, 64, 96])
@pytest.mark.parametrize("in_places", [False, True])
def test_norm(tokens, hidden, in_places):
    """As behind the experts, and as graphs of many tokens have it, whose router is a product of its own."""
    check_norm(tokens, hidden, None, in_places=in_places)


@pytest.mark.parametrize("tokens", PASS_SIZES)
@pytest.mark.parametrize("hidden", [2880, 96])
def test_embedding_and_rope(tokens, hidden):
    table, weight = torch.randn(50, hidden, **BF16), torch.randn(hidden, **BF16)
    ids = torch.randint(0, 50, (tokens,), dtype=torch.int32, device=DEVICE)
    ids[0], ids[-1] = 0, 49
    positions = torch.randint(0, 131_072, (tokens,), dtype=torch.int32, device=DEVICE)
    positions[0], positions[-1] = 0, 131_071
    frequencies = yarn_inverse_frequencies(
        64, 150_000.0, factor=32.0, beta_fast=32.0, beta_slow=1.0, original_context=4096, truncate=False
    ).to(DEVICE)  # fmt: skip
    after, normed = torch.full((2, tokens, hidden), torch.nan, **BF16)
    rope = torch.full((tokens, 2, 32), torch.nan, device=DEVICE)
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
    for bits in (0x7FFFFFFF, -1):  # NaN, then with a sign
        logits.view(torch.int32)[-1, 3], positions[-1] = bits, 6
        out.fill_(-5)
        argmax(logits, end, ids, positions, out, (scratch, arrivals))
        torch.cuda.synchronize()
        assert out.view(torch.float32)[0, 1, -1].isnan()


@pytest.mark.parametrize("tokens", [*ALL_SIZES, 129, 512])
@pytest.mark.parametrize(("vocab", "end"), [(201_088, 200_019), (77, 50)])
@pytest.mark.parametrize("spread", [1.0, 6.0])
@pytest.mark.parametrize(
    "likely", [{}, {"top_p": 0.9}, {"top_k": 40}, {"top_k": 3000, "top_p": 0.7, "min_p": 0.01}]
)
def test_draw(tokens, vocab, end, spread, likely):
    """Weights added up to the id that is drawn pass the row's number, and those before it do not."""
    logits = (torch.randn(tokens, vocab, device=DEVICE) * spread).bfloat16().float()
    logits[:, end:] = 100
    logits[::3, : end // 2] = -torch.inf  # whole slices without a weight
    logits[0, :end] = -torch.inf
    logits[0, end // 3] = -4.0
    every = range(tokens)
    seeds = [7**row % 2**63 for row in every]
    how = [
        Chance(seeds[row], row % 3, row - 2, (0.0, 0.3, 1.0, 2.5)[(row + tokens) % 4], **likely)
        for row in every
    ]
    sets = torch.rand(3, end, device=DEVICE) < 0.7
    sets[:, end // 3] = True
    chosen = [(None, 0, None, 2, 1)[row % 5] for row in every]
    valid = logits[:, :end].clone()
    for row, one in enumerate(chosen):
        if one is not None:
            valid[row, ~sets[one]] = -torch.inf
    given = torch.from_numpy(of_sets(chances(how), chosen)).to(DEVICE)
    slices = num_slices(tokens)
    scratch = (
        torch.full((tokens, slices), -1, dtype=torch.int64, device=DEVICE),
        torch.full((tokens, slices), torch.nan, dtype=torch.float64, device=DEVICE),
    )
    _, largest = reference.argmax(valid.cpu(), end)
    for turn in range(3):
        ids = torch.full((tokens,), -7, dtype=torch.int32, device=DEVICE)
        positions = torch.arange(tokens, dtype=torch.int32, device=DEVICE) + turn
        out = torch.full((2, 2, tokens), -5, dtype=torch.int32, device=DEVICE)
        draw(logits, end, given, ids, positions, out, scratch, packed(sets))
        torch.cuda.synchronize()
        assert positions.tolist() == [row + turn + 1 for row in range(tokens)]
        parity, rows = (torch.arange(tokens) + turn) & 1, torch.arange(tokens)
        assert out.cpu()[parity, 0, rows].tolist() == ids.tolist()
        assert torch.equal(out.cpu()[parity, 1, rows].view(torch.float32), largest)
        assert (out.cpu()[1 - parity, :, rows] == -5).all()
        numbers = [uniform(seeds[row], row % 3, turn + 2) for row in every]
        some = torch.randperm(tokens)[:24].tolist()
        check_draws(
            valid[some],
            ids[some].tolist(),
            [how[row] for row in some],
            [numbers[row] for row in some],
        )
    logits[-1, end // 3], positions[-1] = torch.nan, 6
    draw(logits, end, given, ids, positions, out, scratch, packed(sets))
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
    )
    counts, sets = torch.zeros(5), torch.zeros(1, 1, dtype=torch.uint8, device=DEVICE)
    out = torch.zeros(2, 2, 512, dtype=torch.int32, device=DEVICE)
    for turn in range(40):
        numbers = chances(Chance(512 * turn + row, 0, 0, 1.0) for row in range(512))
        ids, positions = torch.zeros(2, 512, dtype=torch.int32, device=DEVICE)
        draw(logits, 5, torch.from_numpy(numbers).to(DEVICE), ids, positions, out, scratch, sets)
        counts += ids.cpu().bincount(minlength=5)
    assert float((counts / counts.sum() - shares.cpu()).abs().max()) < 0.02
