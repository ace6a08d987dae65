"""Products in AMX's tiles: every number of tokens of a panel, groups that leave no whole step, odd scales.

They run where the processor has AMX, and in a library that emulates it: emulate_amx.sh.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ossia.kernels.dense import cpu as dense_cpu
from ossia.kernels.dense import reference as dense_reference
from ossia.kernels.int8 import quantize
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
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("int8", [False, True])
def test_experts_of_any_number_of_tokens(groups, int8):
    plain, interleaved = _experts(groups)
    plain = replace(plain, int8_activations=int8)
    interleaved = replace(interleaved, int8_activations=int8)
    all_tokens = torch.randn(max(TOKENS), 32 * groups).bfloat16()
    alone = [_run("amx", token[None], interleaved) for token in all_tokens]
    expected = _defined(all_tokens, plain)
    for tokens in TOKENS:
        out = _run("amx", all_tokens[:tokens], interleaved)
        assert torch.equal(out, torch.cat(alone[:tokens])), "the other tokens play a part"
        if int8:
            error = (out.double() - expected[:tokens]).abs().max() / expected.abs().max()
            assert error <= INT8_ACTIVATIONS[torch.bfloat16]
            assert torch.equal(out, _run("avx512_bf16", all_tokens[:tokens], interleaved))
        else:
            assert_near(out, expected[:tokens])


@needs_amx
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("rounded", [False, True])
def test_matrices_of_8_bits_give_what_avx512_gives(groups, rounded):
    matrix = quantize(torch.randn(48, 32 * groups).bfloat16())
    all_tokens, bias = torch.randn(150, 32 * groups).bfloat16(), torch.randn(48).bfloat16()
    for tokens in [*TOKENS, 128, 129, 150]:
        outs = []
        for isa in ("amx", "avx512_bf16"):
            with cpu_kernels.needed().using(isa):
                outs.append(
                    dense_cpu.linear_int8(
                        all_tokens[:tokens], matrix, bias, int8_activations=rounded
                    )
                )
        assert torch.equal(*outs)
    expected = dense_reference.linear_int8(all_tokens.double(), matrix, bias.double())
    assert_near(outs[0], expected)


@needs_amx
@pytest.mark.parametrize("tokens", [1, 3, 6, 17, 40])
@pytest.mark.parametrize(
    "scales", [(60, 70), (184, 196), (0, 6), (64, 65), (190, 191), (63, 64), (191, 192)]
)
def test_scales_that_bfloat16_cannot_hold_or_barely(tokens, scales):
    """Products of floats: the activations are as large as weights are small, so that sums are about 1."""
    plain, interleaved = _experts(3, scales)
    x = torch.randn(tokens, 96) * 2.0 ** min(127 - scales[0], 120)
    x = x.bfloat16()
    # What comes of it is multiplied by moderate weights.
    down, moderate = _experts(3)
    plain, interleaved = replace(plain, down=down.down), replace(interleaved, down=moderate.down)
    out = _run("amx", x, interleaved)
    assert_near(out, _defined(x, plain))
    alone = torch.cat([_run("amx", token[None], interleaved) for token in x])
    assert torch.equal(out, alone)


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
