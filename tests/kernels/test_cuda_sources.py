"""The CUDA sources compile for the devices they are meant for, wherever a compiler is at hand."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib import import_module

import pytest

from ossia.errors import KernelError
from ossia.kernels.cuda.nvrtc import compile_cubin, find_nvrtc
from ossia.kernels.cuda.program import arch_of, source_of
from ossia.kernels.decode import attention, dozens, num_slices, routed, several, slab, stream, wide
from ossia.kernels.decode.launching import VARIANTS

FILES = (
    "argmax", "attention", "dense", "dispatch", "down", "dozens", "draw", "expand", "fp8", "gate_up", "gemv", "norm",
    "routed", "several", "slab", "stream", "wide",
)  # fmt: skip
ELF = b"\x7fELF"
draw = import_module("ossia.kernels.decode.draw")  # whose name in the package is its function's


@pytest.mark.parametrize("name", FILES)
def test_with_nvcc(name, tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("needs nvcc")
    source, headers = source_of(f"{name}.cu")
    for file, text in {f"{name}.cu": source, **headers}.items():
        (tmp_path / file).write_text(text)
    arch = "-gencode=arch=compute_90a,code=sm_90a"
    out = tmp_path / "out.cubin"
    command = [
        nvcc,
        "-std=c++17",
        arch,
        "-cubin",
        "-Werror",
        "all-warnings",
        f"{name}.cu",
        "-o",
        out,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(ELF)


@pytest.mark.parametrize("capability", [(8, 0), (9, 0)])
def test_with_nvrtc(capability):
    nvrtc = find_nvrtc()
    if nvrtc is None:
        pytest.skip("needs libnvrtc")
    for name in FILES:
        source, headers = source_of(f"{name}.cu")
        cubin = compile_cubin(nvrtc, f"{name}.cu", source, headers, arch_of(capability))
        assert cubin.startswith(ELF)
    with pytest.raises(KernelError, match=r"broken.cu does not compile for sm_80:\n.*undefined"):
        compile_cubin(nvrtc, "broken.cu", "__device__ int f() { return g; }", {}, "sm_80")


@pytest.mark.parametrize("name", VARIANTS)
def test_the_table_of_variants_says_what_the_sources_do(name):
    variant = VARIANTS[name]
    line = _definition(f"{name}.cu", name)
    assert f"__launch_bounds__({variant.warps * 32}, {variant.blocks})" in line
    assert f"{name}_product<1, {variant.warps}, {variant.ahead}>" in line


def test_the_table_of_slabs_says_what_the_source_does():
    for variant in slab._VARIANTS:
        line = _definition("slab.cu", variant.name)
        columns = variant.tokens // variant.halves // 8
        cut = (columns, variant.steps, variant.warps, variant.halves, variant.tiles, variant.splits)
        assert f"slab<{', '.join(map(str, cut))}>" in line
        bound = re.search(r"__launch_bounds__\((\d+), 1\)", line)
        assert bound is None or int(bound[1]) == 32 * (variant.warps + 1)


@pytest.mark.parametrize("columns", stream._SLOTS)
def test_the_table_of_slots_says_what_the_source_does(columns):
    line = _definition("stream.cu", f"stream_{columns}")
    assert f"__launch_bounds__({32 * (stream._WARPS + 1)}, 1)" in line
    assert f"stream_rows<{columns // 16}, {stream._SLOTS[columns]}>" in line


def test_so_do_the_numbers_of_several():
    warps, summing = several._WARPS, several._SUMMING
    source, _ = source_of("several.cu")
    assert f"WARPS = {warps}, UNITS = {several._UNITS}" in source
    assert f"SUMMING = {summing}, MOST_STAGES = {several._MOST_STAGES}" in source
    for width in several.WIDTHS:
        line = _definition("several.cu", f"several_{width}")
        assert f"__launch_bounds__({32 * (warps + 1 + summing)}, 1)" in line
        assert f"several<{width // 8}, false>" in line
    line = _definition("several.cu", f"several_choosing_{several.CHOOSING_TOKENS}")
    assert f"several<{several.CHOOSING_TOKENS // 8}, true>" in line


def test_and_those_of_dozens():
    source, _ = source_of("dozens.cu")
    assert f"NT = {dozens.WIDTH // 8};" in source
    assert f"GROUPS = {dozens._GROUPS}, EACH = {dozens._EACH}, UNITS = EACH * GROUPS;" in source
    assert f"MOST_STAGES = {dozens._MOST_STAGES};" in source
    assert "THREADS = (GROUPS * 4 + 8) * 32;" in source
    assert dozens._THREADS == (dozens._GROUPS * 4 + 8) * 32


@pytest.mark.parametrize("units", [(45, 45), (1, 1), (4, 45), (45, 1), (30, 45)])
def test_what_dozens_takes_of_a_multiprocessor(units):
    """The ring holds no more stages than a quad has and one: a quad's scales lie where those of the one before the last did."""
    stages = dozens._stages(units)
    assert 2 <= stages <= -(-min(units) // dozens._UNITS) + 1
    taken = dozens._fixed_bytes(max(units)) + stages * dozens._STAGE_BYTES
    assert taken + 3_072 <= 232_448


def test_dozens_refuses_what_has_no_room():
    assert dozens._stages((46, 46)) == 2
    assert dozens._stages((47, 47)) < 2
    assert dozens._stages((64, 1)) < 2


@pytest.mark.parametrize("warps", [2, 4, 8])
@pytest.mark.parametrize("kernel", attention._KERNELS.values())
def test_blocks_of_attention_stage_what_they_are_launched_for(kernel, warps):
    source, _ = source_of("attention.cu")
    begin = source.index(f" {kernel}_{warps}(")
    fp8, staged = ("fp8" in kernel), warps < 8
    cut = f"attend<{warps}, {str(fp8).lower()}, {str(staged).lower()}>(a);"
    assert cut in source[begin : begin + 120]
    assert f"__launch_bounds__({warps * 32}" in source[begin - 40 : begin]
    assert "WARP_BYTES = 4096;" in source
    assert attention._STAGED_BYTES == 2 * 4096


@pytest.mark.parametrize("width", routed.VARIANTS)
@pytest.mark.parametrize("up", [True, False])
def test_so_does_the_table_of_widths(width, up):
    variant = routed.VARIANTS[width]
    line = _definition("routed.cu", f"routed_{'up' if up else 'down'}_{width}")
    assert f"__launch_bounds__({variant.warps * 32}, {variant.blocks})" in line
    assert f"routed<{str(up).lower()}, {width}, {variant.warps}, {variant.stages}>" in line


@pytest.mark.parametrize("width", wide.VARIANTS)
def test_and_the_one_for_hopper(width):
    variant, (source, _) = wide.VARIANTS[width], source_of("wide.cu")
    assert f"KERNELS({width}, {variant.warps * 32}, {variant.blocks})" in source
    cut = f"product<WAY, {width // 8}, {variant.warps}, {variant.stages}>(a, item, slots)"
    assert cut in source
    assert (variant.shared_bytes(width) + 1536) * variant.blocks <= 228 * 1024


def test_the_table_of_draws_says_what_the_source_does():
    source, _ = source_of("draw.cu")
    threads = f"WEIGHERS = {draw._WEIGHERS}, DRAWERS = {draw._DRAWERS}"
    assert f"{threads}, MOST_SLICES = {draw._MOST_SLICES};" in source
    assert max(num_slices(tokens) for tokens in range(1, 513)) <= draw._MOST_SLICES


def _definition(file: str, kernel: str) -> str:
    source, _ = source_of(file)
    return next(line for line in source.splitlines() if f" {kernel}(" in line and "extern" in line)


def test_hopper_gets_its_own_instructions():
    assert [arch_of(c) for c in ((8, 0), (8, 9), (9, 0), (10, 0))] == [
        "sm_80", "sm_89", "sm_90a", "sm_100",
    ]  # fmt: skip
