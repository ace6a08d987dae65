#!/usr/bin/env bash
# Builds driver.cpp with the CPU kernels under each sanitizer and runs it. Takes minutes.
set -euo pipefail
cd "$(dirname "$0")/../../.."
for sanitizer in address,undefined thread; do
  folder="build/sanitize-$sanitizer"
  cmake -S packaging/cpu_kernels -B "$folder" -DOSSIA_SANITIZE="$sanitizer" -DCMAKE_BUILD_TYPE=Release >/dev/null
  cmake --build "$folder" --target ossia_cpu_driver
  echo "== $sanitizer"
  UBSAN_OPTIONS=halt_on_error=1 "$folder/ossia_cpu_driver"
done
