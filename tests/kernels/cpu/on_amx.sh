#!/usr/bin/env bash
# On a machine with AMX: builds the CPU kernels, says which instruction sets run, tests `amx`, and measures it
# beside the sets that it has to beat. The parts `test` and `kernels` take minutes; `model`, gpt-oss-20b's shape
# with random weights, takes longer and needs 20 GB of memory.
#     tests/kernels/cpu/on_amx.sh [PYTHON] [THREADS] ["test kernels model"]
set -euo pipefail
cd "$(dirname "$0")/../../.."
python="${1:-.venv/bin/python}" threads="${2:-16}" parts="${3:-test kernels model}"
export PYTHONPATH="$PWD/src:$PWD/tests:${PYTHONPATH:-}" OMP_WAIT_POLICY=PASSIVE

cmake -S packaging/cpu_kernels -B build/amx -DOSSIA_IN_PLACE=ON >/dev/null
cmake --build build/amx -j "$threads" --target ossia_cpu | tail -n 1
"$python" - <<'CODE'
from ossia.kernels.cpu import load, why_not

kernels = load()
assert kernels is not None, why_not()
for name, obstacle in kernels.obstacles().items():
    print(f"{name:12} {obstacle or 'runs'}")
print("chosen:", kernels.isa)
kernels.use("amx")
CODE

if [[ " $parts " == *" test "* ]]; then
  echo "== tests"
  "$python" -m pytest -q -m "not slow" -k amx tests/kernels/cpu tests/kernels/test_dense.py \
    tests/kernels/test_int8.py tests/kernels/test_moe_cpu.py tests/model/test_cpu_decoder.py
fi
if [[ " $parts " == *" kernels "* ]]; then
  echo "== products"
  for only in experts "8 bits"; do
    "$python" benchmarks/cpu_kernels.py --isa amx avx512_bf16 avx512_vnni --threads 1 "$threads" --only "$only" \
      --quick --seconds 0.5
  done
fi
if [[ " $parts " == *" model "* ]]; then
  echo "== model"
  for isa in amx avx512_bf16; do
    for precision in "" "--cpu-weights int8 --cpu-activations int8"; do
      echo "-- $isa $precision"
      # shellcheck disable=SC2086
      OSSIA_CPU_ISA=$isa "$python" -m ossia bench latency --model random:20b --device cpu --threads "$threads" \
        --prompt 512 --tokens 16 --repeats 2 $precision
    done
  done
fi
