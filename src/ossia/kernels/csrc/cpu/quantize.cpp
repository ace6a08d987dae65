// From bfloat16 matrices to int8 with a scale for 32 columns of a row, in tiles of 16 rows.
#include <cstring>

#include "bfloat16.h"
#include "isa.h"
#include "memory.h"
#include "ossia_cpu.h"
#include "pool.h"

namespace {

using namespace ossia;

constexpr int kLargest = 127;
constexpr int kRaise = 128;

// The scale of a group, rounded up to bfloat16 so that its largest weight stays within 127; NaN for a
// group that is not finite.
uint16_t scale_of(const uint16_t* weights) {
  uint32_t peak = 0;  // magnitudes compare like integers
  for (int k = 0; k < kGroup; ++k) {
    const uint32_t magnitude = weights[k] & 0x7fffu;
    peak = magnitude > peak ? magnitude : peak;
  }
  if (peak >= 0x7f80u) return 0x7fc0u;
  const float scale = widened(static_cast<uint16_t>(peak)) / kLargest;
  uint32_t bits;
  std::memcpy(&bits, &scale, 4);
  return static_cast<uint16_t>((bits + 0xffffu) >> 16);
}

void quantize_group(const uint16_t* weights, uint8_t* codes, uint16_t* scale) {
  *scale = scale_of(weights);
  const float step = widened(*scale);
  const bool usable = step > 0.0f;  // not of a group that is 0 or not finite
  for (int k = 0; k < kGroup; ++k) {
    const float whole = usable ? __builtin_nearbyintf(widened(weights[k]) / step) : 0.0f;
    codes[k / 4 * kTileRows * 4 + k % 4] = static_cast<uint8_t>(static_cast<int>(whole) + kRaise);
  }
}

}  // namespace

int ossia_quantize(
    const void* weight, int64_t rows, int64_t columns, uint8_t* out_codes, void* out_scales, int threads) {
  const int64_t groups = columns / kGroup;
  ask_for_large_pages(out_codes, rows * columns);
  ask_for_large_pages(out_scales, rows * groups * 2);
  for_each_task(threads, rows / kTileRows, [&](int64_t tile, int) {
    for (int r = 0; r < kTileRows; ++r) {
      const uint16_t* row = static_cast<const uint16_t*>(weight) + (tile * kTileRows + r) * columns;
      for (int64_t group = 0; group < groups; ++group)
        quantize_group(
            row + group * kGroup, out_codes + (tile * groups + group) * kByteCodeBytes + r * 4,
            static_cast<uint16_t*>(out_scales) + (tile * groups + group) * kTileRows + r);
    }
  });
  gather_in_large_pages(out_codes, rows * columns);
  gather_in_large_pages(out_scales, rows * groups * 2);
  return OSSIA_OK;
}
