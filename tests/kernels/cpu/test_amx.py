"""Products in AMX's tiles: every number of tokens of a panel, odd scales, and few tokens in vectors beside them.

They run where the processor has AMX, and in a library that emulates it: emulate_amx.sh.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ossia.kernels.moe import ExpertWeights, reference
from ossia.kernels.moe import cpu as moe_cpu
from ossia.kernels.mxfp4 import Mxfp4Tensor, interleave
from support import cpu_kernels
from support.tolerances import INT8_ACTIVATIONS, assert_near

needs_amx = pytest.mark.skipif(
    "amx" not in cpu_kernels.runnable_isas(), reason="needs AMX, or OSSIA_TEST_CPU_LIBRARY"
)
TOKENS = [*range(1, 20), 31, 32, 33, 47, 48, 49, 63, 64, 65, 70]
GROUPS = [1, 2, 3, 5, 9]
LEAST_TOKENS = {False: 5, True: 10}
"""Of an expert, for tiles; by whether activations are rounded to 8 bits. As csrc/cpu/amx.cpp has it."""


def _experts(
    groups: int, scales: tuple[int, int] = (118, 124), num_experts: int = 1
) -> tuple[ExpertWeights, ExpertWeights]:
    """A layer in the checkpoint's order, and interleaved."""
    hidden, ffn = 32 * groups, 96

    def packed(rows: int, columns: int) -> Mxfp4Tensor:
        shape = (num_experts, rows, columns // 32)
        return Mxfp4Tensor(
            torch.randint(0, 256, (*shape, 16), dtype=torch.uint8),
            torch.randint(*scales, shape, dtype=torch.uint8),
        )

    gate_up, down = packed(2 * ffn, hidden), packed(hidden, ffn)
    plain = ExpertWeights(
        gate_up=gate_up, gate_up_bias=torch.randn(num_experts, 2 * ffn).bfloat16(),
        down=down, down_bias=torch.randn(num_experts, hidden).bfloat16(),
        alpha=1.702, limit=7.0,
    )  # fmt: skip
    return plain, replace(
        plain, gate_up=interleave(gate_up, paired=True), down=interleave(down, paired=False)
    )


def _run(isa: str, x: torch.Tensor, experts: ExpertWeights) -> torch.Tensor:
    """All tokens through the first expert."""
    with cpu_kernels.needed().using(isa):
        return moe_cpu.run_experts(x, *_first(x), experts)


def _first(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(len(x), 1, dtype=torch.int64), torch.ones(len(x), 1, dtype=x.dtype)


def _defined(x: torch.Tensor, experts: ExpertWeights) -> torch.Tensor:
    """The reference in float64."""
    wide = replace(
        experts,
        gate_up_bias=experts.gate_up_bias.double(),
        down_bias=experts.down_bias.double(),
    )
    ids, weights = _first(x)
    return reference.run_experts(x.double(), ids, weights.double(), wide)


@needs_amx
def test_it_is_chosen_where_it_runs():
    assert cpu_kernels.needed().isa == "amx"


@needs_amx
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("int8", [False, True])
def test_experts_of_any_number_of_tokens(groups, int8):
    plain, interleaved = _experts(groups)
    plain = replace(plain, int8_activations=int8)
    interleaved = replace(interleaved, int8_activations=int8)
    all_tokens = torch.randn(max(TOKENS), 32 * groups).bfloat16()
    in_tiles = _run("amx", all_tokens, interleaved)
    expected = _defined(all_tokens, plain)
    for tokens in TOKENS:
        out = _run("amx", all_tokens[:tokens], interleaved)
        if tokens < LEAST_TOKENS[int8]:
            vectors = "avx512_bf16" if int8 else "avx512_vnni"
            assert torch.equal(out, _run(vectors, all_tokens[:tokens], interleaved))
        else:
            assert torch.equal(out, in_tiles[:tokens]), "the other tokens play a part"
        if int8:
            error = (out.double() - expected[:tokens]).abs().max() / expected.abs().max()
            assert error <= INT8_ACTIVATIONS[torch.bfloat16]
        else:
            assert_near(out, expected[:tokens])


@needs_amx
def test_tiles_round_to_8_bits_where_that_is_asked_for():
    """A group of a large value and small ones, which 8 bits lose and bfloat16 keeps: only the large one counts."""
    _, interleaved = _experts(1)
    x = torch.full((20, 32), 0.003).bfloat16()
    x[:, 0] = 1.0
    lost = x.clone()
    lost[:, 1:] = 0.0
    rounding = replace(interleaved, int8_activations=True)
    assert torch.equal(_run("amx", x, rounding), _run("amx", lost, rounding))
    assert not torch.equal(_run("amx", x, interleaved), _run("amx", lost, interleaved))


@needs_amx
@pytest.mark.parametrize("int8", [False, True])
def test_experts_of_few_and_of_many_tokens_in_one_call(int8):
    """Each as if it were alone, tokens of both kinds being shared out to both kinds of products."""
    _, interleaved = _experts(3, num_experts=4)
    interleaved = replace(interleaved, int8_activations=int8)
    x = torch.randn(40, 96).bfloat16()
    ids = torch.zeros(40, 2, dtype=torch.int64)
    ids[:, 1] = 3
    ids[:3, 1], ids[3:7, 1] = 1, 2
    weights = torch.rand(40, 2).bfloat16()
    with cpu_kernels.needed().using("amx"):
        out = moe_cpu.run_experts(x, ids, weights, interleaved)
        said = torch.zeros(40, 2, 96)
        for expert in range(4):
            of_expert = (ids == expert).nonzero()
            once = torch.ones(len(of_expert), 1, dtype=torch.bfloat16)
            alone = moe_cpu.run_experts(
                x[of_expert[:, 0]], torch.full_like(once, expert, dtype=torch.int64), once, interleaved
            )  # fmt: skip
            said[of_expert[:, 0], of_expert[:, 1]] = alone.float()
    assert_near(out, (said.double() * weights.double()[:, :, None]).sum(1))


@needs_amx
@pytest.mark.parametrize("tokens", [1, 3, 6, 17, 40])
@pytest.mark.parametrize(
    "scales", [(60, 70), (184, 196), (0, 6), (64, 65), (190, 191), (63, 64), (191, 192)]
)
def test_scales_that_bfloat16_cannot_hold_or_barely(tokens, scales):
    """Products of floats: the activations are as large as weights are small, so that sums are about 1."""
    plain, interleaved = _experts(3, scales)
    x = torch.randn(40, 96) * 2.0 ** min(127 - scales[0], 120)
    x = x.bfloat16()
    # What comes of it is multiplied by moderate weights.
    down, moderate = _experts(3)
    plain, interleaved = replace(plain, down=down.down), replace(interleaved, down=moderate.down)
    out = _run("amx", x[:tokens], interleaved)
    assert_near(out, _defined(x[:tokens], plain))
    if tokens >= LEAST_TOKENS[False]:
        assert torch.equal(out, _run("amx", x, interleaved)[:tokens])


@needs_amx
def test_a_scale_that_is_not_a_number_spoils_what_it_meets():
    _, interleaved = _experts(5)
    x = torch.randn(33, 160).bfloat16()
    interleaved.gate_up.scales.view(-1)[7] = 255
    assert _run("amx", x, interleaved).isnan().all()


@pytest.mark.slow
def test_emulated():
    """All tests of CPU kernels that know the set, in a library in which plain C++ does what AMX does."""
    cpu_kernels.needed()
    if "avx512_bf16" not in cpu_kernels.runnable_isas():
        pytest.skip("the set is more than tiles: it needs AVX-512 with BF16")
    script = Path(__file__).with_name("emulate_amx.sh")
    done = subprocess.run([script, sys.executable], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
