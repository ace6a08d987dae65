#!/usr/bin/env bash
# Builds the CPU kernels with AMX emulated in plain C++ (csrc/cpu/amx_tiles.h) and runs the tests of that set on
# them. Needs a processor with AVX-512 and BF16, which do all that is not a tile's.
#     tests/kernels/cpu/emulate_amx.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/../../.."
cmake -S packaging/cpu_kernels -B build/emulated-amx -DOSSIA_EMULATE_AMX=ON >/dev/null
cmake --build build/emulated-amx --target ossia_cpu
OSSIA_TEST_CPU_LIBRARY="$PWD/build/emulated-amx/libossia_cpu.so" "${1:-.venv/bin/python}" -m pytest -q -m "not slow" \
  -k amx tests/kernels/cpu tests/kernels/test_dense.py tests/kernels/test_int8.py tests/kernels/test_moe_cpu.py \
  tests/model/test_cpu_decoder.py
