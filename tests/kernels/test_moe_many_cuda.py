"""The experts for many tokens on CUDA, packed and expanded, against the plain twin."""

from __future__ import annotations

import pytest
import torch

from ossia.kernels import cuda
from ossia.kernels.decode import dozens, several
from ossia.kernels.decode.experts import X_SCALE, RoutedStep
from ossia.kernels.decode.routed import Slots, dispatch, routed_down, routed_up, sort_slots
from ossia.kernels.decode.wide import VARIANTS, operand_places, runs_on, wide_down_parts, wide_up
from ossia.kernels.moe import ExpertWeights, reference
from ossia.kernels.mxfp4 import Mxfp4Tensor, relay
from ossia.kernels.routing import route

pytestmark = pytest.mark.gpu

DEVICE = torch.device("cuda", 0)
BF16 = {"dtype": torch.bfloat16, "device": DEVICE}
SHAPES = [(32, 4, 2880, 2880), (4, 2, 64, 64), (5, 1, 32, 96), (40, 8, 160, 32), (128, 4, 256, 320)]
# More units of k than a stage of dozens.cu holds, or two or three, and others of the second matrix; the most there can be.
LONGER = [
    (3, 2, 1600, 1664),
    (8, 2, 832, 1600),
    (8, 2, 1984, 320),
    (3, 2, 64, 2496),
    (4, 2, 2944, 704),
]
SIZES = [1, 2, 7, 16, 17, 31, 33, 64, 100, 128, 257, 512, 1024, 3000]


@pytest.fixture(autouse=True)
def _cuda_sources_run():
    if reason := cuda.why_not(DEVICE):
        pytest.fail(f"CUDA sources cannot run here: {reason}")


def _packed(*shape: int) -> Mxfp4Tensor:
    blocks = torch.randint(0, 256, (*shape, 16), dtype=torch.uint8, device=DEVICE)
    return Mxfp4Tensor(blocks, torch.randint(112, 124, shape, dtype=torch.uint8, device=DEVICE))


def _layer(experts: int, hidden: int, ffn: int) -> tuple[ExpertWeights, ExpertWeights]:
    """As the kernels take it, and for the twin in float64."""
    gate_up, down = _packed(experts, 2 * ffn, hidden // 32), _packed(experts, hidden, ffn // 32)
    biases = torch.randn(experts, 2 * ffn, **BF16), torch.randn(experts, hidden, **BF16)

    def made(up: object, down: object, dtype: torch.dtype) -> ExpertWeights:
        return ExpertWeights(
            gate_up=up, gate_up_bias=biases[0].to(dtype), down=down, down_bias=biases[1].to(dtype),
            alpha=1.702, limit=7.0,
        )  # fmt: skip

    relaid = relay(gate_up, paired=True), relay(down, paired=False)
    return made(*relaid, torch.bfloat16), made(gate_up, down, torch.float64)


def _untied(tokens: int, experts: int) -> torch.Tensor:
    """A router's logits, float32 rounded to bfloat16, of which no two of a token are alike.

    Which of equal ones torch's topk takes is up to torch.
    """
    return torch.rand(tokens, experts, device=DEVICE).argsort(1).float() / 16


def _distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual.double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("tokens", SIZES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("way", ["run_packed", "run_wide", "run_expanded"])
def test_both_ways(tokens, shape, way):
    from ossia.kernels.moe import cuda_many

    experts, top_k, hidden, ffn = shape
    layer, twin = _layer(experts, hidden, ffn)
    x = torch.randn(tokens, hidden, **BF16)
    weights, ids = route(torch.randn(tokens, experts, **BF16), top_k)
    expected = reference.run_experts(x.double(), ids, weights.double(), twin)
    actual = getattr(cuda_many, way)(x, ids, weights, layer)
    assert _distance(actual, expected) < 6e-3
    assert torch.equal(actual, getattr(cuda_many, way)(x, ids, weights, layer)), "two runs differ"


@pytest.mark.parametrize("tokens", [1, 9, 130, 257, 1000, 8191])
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_by_the_router_s_word(tokens, shape):
    from ossia.kernels.moe import cuda_many

    experts, top_k, hidden, ffn = shape
    layer, twin = _layer(experts, hidden, ffn)
    x, logits = torch.randn(tokens, hidden, **BF16), _untied(tokens, experts).bfloat16()
    weights, ids = route(logits, top_k)
    expected = reference.run_experts(x.double(), ids, weights.double(), twin)
    actual = cuda_many.route_and_run(x, logits, top_k, layer)
    assert _distance(actual, expected) < 6e-3
    again = cuda_many.route_and_run(x, logits, top_k, layer)
    assert torch.equal(actual, again), "two runs differ"


def test_a_long_prompt_of_gpt_oss_20b():
    """A sample of its rows is compared, since in float64 they all would take long; none may be left out."""
    from ossia.kernels.moe import cuda_many

    tokens, (experts, top_k, hidden, ffn) = 8192, SHAPES[0]
    layer, twin = _layer(experts, hidden, ffn)
    x, logits = torch.randn(tokens, hidden, **BF16), _untied(tokens, experts).bfloat16()
    actual = cuda_many.route_and_run(x, logits, top_k, layer)
    rows = torch.randperm(tokens, device=DEVICE)[:300]
    weights, ids = route(logits[rows], top_k)
    expected = reference.run_experts(x[rows].double(), ids, weights.double(), twin)
    assert _distance(actual[rows], expected) < 6e-3
    assert actual.isfinite().all(), "rows were left unwritten"
    again = cuda_many.route_and_run(x, logits, top_k, layer)
    assert torch.equal(actual, again), "two runs differ"


@pytest.mark.parametrize("way", ["run_packed", "run_wide", "run_expanded"])
def test_all_tokens_to_the_same_experts(way):
    from ossia.kernels.moe import cuda_many

    layer, twin = _layer(8, 256, 128)
    x = torch.randn(300, 256, **BF16)
    ids = torch.tensor([[5, 2]], device=DEVICE).repeat(300, 1)
    weights = torch.rand(300, 2, **BF16)
    expected = reference.run_experts(x.double(), ids, weights.double(), twin)
    assert _distance(getattr(cuda_many, way)(x, ids, weights, layer), expected) < 6e-3


def _run_sorted(
    way: str, x: torch.Tensor, slots: Slots, layer: ExpertWeights, arrivals: torch.Tensor
) -> torch.Tensor:
    """What each token's experts say, (top_k, tokens, hidden), NaN where nothing was written.

    Args:
        way: "routed", "several", "dozens" or "wide".
        x: bfloat16 (tokens, hidden).
        slots: Sorted for it.
        layer: The experts.
        arrivals: Of `run_several` and `run_dozens`.
    """
    (tokens, hidden), ffn = x.shape, layer.gate_up_bias.shape[1] // 2
    operands = torch.zeros(tokens, -(-hidden // 64) * 64, **BF16)
    operands[:, :hidden] = x * X_SCALE
    inner = torch.zeros(len(slots.ids), -(-ffn // 64) * 64, **BF16)
    inner[:, :ffn] = torch.nan
    said = torch.full((len(slots.ids) // tokens, tokens, hidden), torch.nan, device=DEVICE)
    given = layer.alpha, layer.limit, inner
    if way in ("dozens", "wide"):
        operands = operands[:, operand_places(operands.shape[1]).to(DEVICE)].contiguous()
    if way in ("several", "dozens"):
        (several.run_several if way == "several" else dozens.run_dozens)(
            operands, slots, (layer.gate_up, layer.down), (layer.gate_up_bias, layer.down_bias), *given,
            said, arrivals,
        )  # fmt: skip
    elif way == "wide":
        wide_up(operands, slots, layer.gate_up, layer.gate_up_bias, *given)
        wide_down_parts(inner, slots, layer.down, layer.down_bias, said)
    else:
        routed_up(operands, slots, layer.gate_up, layer.gate_up_bias, *given)
        routed_down(inner, slots, layer.down, layer.down_bias, said)
    return said


WAYS = [
    *(("several", width) for width in several.WIDTHS),
    ("dozens", dozens.WIDTH),
    *(("wide", width) for width in VARIANTS),
]


@pytest.mark.parametrize(("way", "width"), [("routed", None), *WAYS])
@pytest.mark.parametrize("tokens", [*range(1, 18), 31, 33, 48, 96, 128, 129, 200, 512])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_of_many_sequences(tokens, shape, way, width):
    if width is not None and not runs_on(DEVICE):
        pytest.skip("needs Hopper")
    experts, top_k, hidden, ffn = shape
    layer, twin = _layer(experts, hidden, ffn)
    x = torch.randn(tokens, hidden, **BF16)
    logits = _untied(tokens, experts)
    positions = torch.arange(tokens, dtype=torch.int32, device=DEVICE)
    absent = list(range(1, tokens, 5))
    positions[absent] = -1
    weights, ids = route(logits.bfloat16(), top_k)
    expected = reference.run_experts(x.double(), ids, weights.double(), twin)
    expected[absent] = 0
    arrivals = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    x[absent] = torch.nan

    def run() -> torch.Tensor:
        slots = Slots.empty(tokens, experts, top_k, DEVICE, width)
        for part in (slots.ids, slots.order, slots.items, slots.num_items):
            part.fill_(2**30)
        slots.weights.fill_(torch.nan)
        dispatch(slots, RoutedStep(logits=logits, positions=positions, top_k=top_k))
        out = _run_sorted(way, x, slots, layer, arrivals).sum(0)
        assert out[absent].isnan().all(), "tokens that are not there were written"
        out[absent] = 0
        return out

    first = run()
    assert _distance(first, expected) < 6e-3
    assert torch.equal(first, run()), "two runs differ"


@pytest.mark.parametrize("tokens", [3, 40, 97])
@pytest.mark.parametrize("shape", LONGER)
def test_dozens_where_quads_have_several_stages(tokens, shape):
    if not runs_on(DEVICE):
        pytest.skip("needs Hopper")
    experts, top_k, hidden, ffn = shape
    layer, twin = _layer(experts, hidden, ffn)
    x, logits = torch.randn(tokens, hidden, **BF16), _untied(tokens, experts)
    weights, ids = route(logits.bfloat16(), top_k)
    expected = reference.run_experts(x.double(), ids, weights.double(), twin)
    arrivals = torch.zeros(1, dtype=torch.int64, device=DEVICE)
    slots = Slots.empty(tokens, experts, top_k, DEVICE, dozens.WIDTH)
    dispatch(slots, RoutedStep(logits=logits, positions=None, top_k=top_k))
    first = _run_sorted("dozens", x, slots, layer, arrivals).sum(0)
    assert _distance(first, expected) < 6e-3
    assert torch.equal(first, _run_sorted("dozens", x, slots, layer, arrivals).sum(0))


@pytest.mark.parametrize(("way", "width"), [("several", 8), ("dozens", dozens.WIDTH)])
def test_experts_of_tokens_that_are_not_there(way, width):
    """Nothing is written, and the blocks' meetings stay in step."""
    if not runs_on(DEVICE):
        pytest.skip("needs Hopper")
    layer, twin = _layer(5, 96, 64)
    x, arrivals = torch.randn(9, 96, **BF16), torch.zeros(1, dtype=torch.int64, device=DEVICE)
    logits = _untied(9, 5)
    weights, ids = route(logits.bfloat16(), 2)
    expected = reference.run_experts(x.double(), ids, weights.double(), twin)
    for there in (False, True, False, True):
        slots = Slots.empty(9, 5, 2, DEVICE, width)
        positions = torch.full((9,), 0 if there else -1, dtype=torch.int32, device=DEVICE)
        dispatch(slots, RoutedStep(logits=logits, positions=positions, top_k=2))
        said = _run_sorted(way, x, slots, layer, arrivals)
        if there:
            assert _distance(said.sum(0), expected) < 6e-3
        else:
            assert said.isnan().all()


@pytest.mark.parametrize(("way", "width"), WAYS)
def test_items_of_every_size(way, width):
    """What a slot gets does not depend on how many others there are, in its item or in all."""
    if not runs_on(DEVICE):
        pytest.skip("needs Hopper")
    experts, hidden, ffn = 3, 160, 448
    layer, twin = _layer(experts, hidden, ffn)
    most = 2 * width + 3
    x, weights = torch.randn(most, hidden, **BF16), torch.rand(most, 1, **BF16)
    arrivals = torch.zeros(1, dtype=torch.int64, device=DEVICE)

    def run(count: int) -> torch.Tensor:
        slots = Slots.empty(count, experts, 1, DEVICE, width)
        slots.ids.fill_(1)
        slots.weights.copy_(weights[:count, 0])
        sort_slots(slots, experts, 1)
        return _run_sorted(way, x[:count], slots, layer, arrivals)[0]

    whole = run(most)
    ids = torch.ones(most, 1, dtype=torch.int64, device=DEVICE)
    expected = reference.run_experts(x.double(), ids, weights.double(), twin)
    assert _distance(whole, expected) < 6e-3
    for count in range(1, most):
        assert torch.equal(run(count), whole[:count]), count


@pytest.mark.parametrize("tokens", [1, 31, 32, 33, 129, 512, 1000, 8191])
@pytest.mark.parametrize(("experts", "top_k"), [(32, 4), (4, 2), (5, 1), (40, 8), (200, 8)])
@pytest.mark.parametrize("width", [None, 32, 128])
def test_slots_are_sorted_and_cut(tokens, experts, top_k, width):
    logits = _untied(tokens, experts)
    logits[: tokens // 2, 0] = experts / 16  # more than an item of one expert
    positions = torch.arange(tokens, dtype=torch.int32, device=DEVICE)
    positions[2::7] = -1
    slots = Slots.empty(tokens, experts, top_k, DEVICE, width)
    for part in (slots.ids, slots.order, slots.items, slots.num_items):
        part.fill_(2**30)
    dispatch(slots, RoutedStep(logits=logits, positions=positions, top_k=top_k))
    weights, ids = route(logits.bfloat16(), top_k)
    present = positions >= 0
    there = present.tolist()
    assert torch.equal(slots.ids.view(tokens, top_k)[present], ids[present].int())
    chosen = slots.weights.view(tokens, top_k)[present]
    assert _distance(chosen, weights[present].double()) < 4e-3
    order, expert_of = slots.order.tolist(), ids.flatten().tolist()
    found: list[int] = []
    for expert, first, count, _ in slots.items[: int(slots.num_items)].tolist():
        assert 0 < count <= slots.width
        assert first == len(found)
        found += order[first : first + count]
        assert all(expert_of[slot] == expert for slot in found[first:])
    assert sorted(found) == [slot for slot in range(tokens * top_k) if there[slot // top_k]]
