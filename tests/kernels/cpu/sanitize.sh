#!/usr/bin/env bash
# Builds driver.cpp with the CPU kernels, AMX emulated, under each sanitizer and runs it. Takes minutes.
set -euo pipefail
cd "$(dirname "$0")/../../.."
for sanitizer in address,undefined thread; do
  folder="build/sanitize-$sanitizer"
  cmake -S packaging/cpu_kernels -B "$folder" -DOSSIA_SANITIZE="$sanitizer" -DOSSIA_EMULATE_AMX=ON \
    -DCMAKE_BUILD_TYPE=Release >/dev/null
  cmake --build "$folder" --target ossia_cpu_driver
  echo "== $sanitizer"
  UBSAN_OPTIONS=halt_on_error=1 "$folder/ossia_cpu_driver"
done

# Arm's instruction set, on an Arm machine's behalf: where there are a compiler for it and an emulator.
if command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64-static >/dev/null; then
  cmake -S packaging/cpu_kernels -B build/sanitize-arm -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
    -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ -DOSSIA_SANITIZE=undefined -DCMAKE_BUILD_TYPE=Release >/dev/null
  cmake --build build/sanitize-arm --target ossia_cpu_driver
  echo "== undefined, on an emulated Arm"
  UBSAN_OPTIONS=halt_on_error=1 qemu-aarch64-static -cpu max -L /usr/aarch64-linux-gnu build/sanitize-arm/ossia_cpu_driver
fi
