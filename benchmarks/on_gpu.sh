#!/usr/bin/env bash
# On a machine with a GPU: what a change of its kernels has to go through, by parts. Minutes are an H200's. Tests and
# precision may run side by side, in calls of their own; what takes times or counts memory must not.
#   kernels    gpu tests of the kernels, in three processes (2)
#   model      those of model, loading and bench (3)
#   engine     those of engines, `--deterministic` among them, and generations under masks (3)
#   sanitizer  memory checks of FEW (3) tests of each kernel and kind, in PROCESSES (5) (4)
#   precision  states and logits against float32 on the CPU, the demo's answers (2)
#   soak       an engine under mixed load (4)
#   memory     the most that a context of 8,192 takes, by the driver (1)
#   table      what a dated file here holds, in one run (4)
#   options    what `--deterministic`, 8-bit floats and such cost or gain (4)
#     benchmarks/on_gpu.sh [PYTHON] ["kernels model engine"]
set -uo pipefail
cd "$(dirname "$0")/.."
python="${1:-.venv/bin/python}" parts="${2:-kernels model engine}" failed=0
export PYTHONPATH="$PWD/src:$PWD/tests:$PWD:${PYTHONPATH:-}"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader

part() { [[ " $parts " == *" $1 "* ]]; }
run() {
  local begun=$SECONDS
  echo "== $*"
  "$@" || { failed=1 && echo "FAILED: $*"; }
  echo "-- $((SECONDS - begun)) s"
}
# Side by side; what they print follows one after the other, and is in the folder LOGS before.
run_all() {
  local begun=$SECONDS folder="${LOGS:-$(mktemp -d)}" logs=() jobs=() at
  for at in "${!commands[@]}"; do
    logs+=("$folder/$1-$at.txt")
    bash -c "${commands[$at]}" >"${logs[$at]}" 2>&1 &
    jobs+=($!)
  done
  for at in "${!commands[@]}"; do
    echo "== ${commands[$at]}"
    wait "${jobs[$at]}" || { failed=1 && echo "FAILED: ${commands[$at]}"; }
    cat "${logs[$at]}"
  done
  echo "-- $((SECONDS - begun)) s"
}
pytest="$python -m pytest -q -p no:cacheprovider"
gpu_tests() { run $pytest -m gpu --continue-on-collection-errors "$@"; }
bench() { run "$python" -m ossia bench "$@"; }

if part kernels; then
  many=tests/kernels/test_moe_many_cuda.py steps="tests/kernels/test_decode_cuda.py tests/kernels/test_decode_attention_cuda.py"
  commands=("$pytest -m gpu $many" "$pytest -m gpu $steps" "$pytest -m gpu tests/kernels $(printf -- '--ignore %s ' $many $steps)")
  run_all kernels
fi
part model && gpu_tests tests/model tests/checkpoint tests/bench tests/api/models tests/test_machine.py
if part engine; then
  gpu_tests tests/engine
  run "$python" -m fuzz.generation demo --generations 300 --device cuda
fi
if part sanitizer; then
  picked=$(mktemp)
  "$python" -m pytest -q -m gpu --collect-only tests/kernels 2>/dev/null | "$python" benchmarks/few_of_each.py "${FEW:-3}" >"$picked"
  [[ -s "$picked" ]] || { echo "no tests were found" && exit 1; }
  wc -l <"$picked"
  commands=()
  for ((share = 0; share < ${PROCESSES:-5}; share++)); do
    awk "NR % ${PROCESSES:-5} == $share" "$picked" >"$picked.$share"
    commands+=("compute-sanitizer --tool memcheck --error-exitcode 9 --print-limit 5 $pytest @$picked.$share")
  done
  run_all sanitizer
fi
if part precision; then
  run "$python" benchmarks/gpu_precision.py demo --answers 16
  run "$python" benchmarks/gpu_precision.py random:20b
fi
part soak && run "$python" -m fuzz.engine_soak --model random:20b --seconds 240
part memory && run "$python" benchmarks/peak_memory.py
if part table; then
  bench latency -m random:20b --batch 1,8,32,128 --prompt 128 --tokens 256 --repeats 3
  bench latency -m random:20b --batch 1,128,512 --prompt 128 --tokens 128 --repeats 3 --temperature 1
  bench latency -m random:20b --batch 1,128 --prompt 128 --tokens 128 --repeats 3 --temperature 1 --top-p 0.9
  bench latency -m random:20b --prompt 8000 --tokens 16 --repeats 5
  bench throughput -m random:20b
  run "$python" -m benchmarks.start_to_ready --model random:20b --starts 1
  bench load -m /tmp/ossia-random-20b --serving --repeats 2
  run "$python" benchmarks/decode_step.py --model random:120b --sizes "" --engine 1,8 --tokens 128
  bench latency -m random:20b --prompt 128 --tokens 64 --depth 4096,32768,130000 --repeats 1
  bench kernels -m random:20b --batch 1,32,128
fi
if part options; then
  bench throughput -m random:20b --max-sequences 64 --num-prompts 256
  bench throughput -m random:20b --max-sequences 64 --num-prompts 256 --deterministic
  bench latency -m random:20b --batch 1,32 --prompt 128 --tokens 128 --repeats 2 --logprobs 5
  for rounded in none unembedding unembedding,attention; do
    bench latency -m random:20b --batch 1,8,32 --prompt 128 --tokens 128 --repeats 2 --fp8-weights "$rounded"
  done
  for dtype in auto fp8; do
    bench latency -m random:20b --batch 8 --depth 16384 --prompt 128 --tokens 64 --repeats 1 --kv-dtype "$dtype"
  done
  bench latency -m random:20b --prompt 8000 --tokens 16 --repeats 3 --fp8-prefill
fi
exit $failed
