#!/usr/bin/env bash
# On a machine with AMX: builds the CPU kernels, says which instruction set is chosen, and fails unless it is `amx`;
# then, by parts, which take two minutes together but for `model`:
#   test     the tests that know the set
#   kernels  the experts' products beside those of the set that it has to beat, and with threads not kept to cores
#   each     the same by tokens an expert, around those where it goes over to tiles
#   model    gpt-oss-20b's shape with random weights: takes longer, and 20 GB of memory
#     tests/kernels/cpu/on_amx.sh [PYTHON] [THREADS] ["test kernels each"]
set -euo pipefail
cd "$(dirname "$0")/../../.."
python="${1:-.venv/bin/python}" threads="${2:-16}" parts="${3:-test kernels each}"
export PYTHONPATH="$PWD/src:$PWD/tests:${PYTHONPATH:-}" OMP_WAIT_POLICY=PASSIVE
unset OSSIA_CPU_ISA OSSIA_CPU_PIN

cmake -S packaging/cpu_kernels -B build/amx -DOSSIA_IN_PLACE=ON >/dev/null
cmake --build build/amx -j "$threads" --target ossia_cpu | tail -n 1
OMP_NUM_THREADS="$threads" "$python" - <<'CODE'
from ossia.api.diagnosis import diagnose, processor_name
from ossia.kernels.cpu import allowed_cpus, load, num_threads, why_not

kernels = load()
assert kernels is not None, why_not()
for name, obstacle in kernels.obstacles().items():
    print(f"{name:12} {obstacle or kernels.drawbacks()[name] or 'runs'}")
print(processor_name())
print("doctor:", diagnose().system["cpu kernels"])
print("places:", *kernels.places(allowed_cpus(), num_threads()))
assert kernels.isa == "amx", f"{kernels.isa} is chosen"
CODE

bench() { "$python" benchmarks/cpu_kernels.py --threads "$threads" --quick --seconds 0.4 "$@"; }
if [[ " $parts " == *" test "* ]]; then
  echo "== tests"
  "$python" -m pytest -q -m "not slow" -k "amx or places or instruction_set or vectors" tests/kernels/cpu \
    tests/kernels/test_dense.py tests/kernels/test_int8.py tests/kernels/test_moe_cpu.py tests/model/test_cpu_decoder.py
fi
if [[ " $parts " == *" kernels "* ]]; then
  echo "== products"
  bench --isa amx avx512_vnni --only experts
  echo "== products, threads not kept to cores"
  OSSIA_CPU_PIN=0 bench --only experts
fi
if [[ " $parts " == *" each "* ]]; then
  echo "== products by tokens an expert"
  bench --isa amx avx512_vnni --only each --each 3 4 5 6 9 10 12
fi
if [[ " $parts " == *" model "* ]]; then
  echo "== model"
  for isa in amx avx512_vnni; do
    for precision in "" "--cpu-weights int8 --cpu-activations int8"; do
      echo "-- $isa $precision"
      # shellcheck disable=SC2086
      OSSIA_CPU_ISA=$isa "$python" -m ossia bench latency --model random:20b --device cpu --threads "$threads" \
        --prompt 512 --tokens 16 --repeats 2 $precision
    done
  done
fi
