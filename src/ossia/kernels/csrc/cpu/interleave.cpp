// From the checkpoint's order of MXFP4 to tiles of 16 rows.
#include <cstring>

#include "isa.h"
#include "ossia_cpu.h"
#include "pool.h"

namespace {

using ossia::kCodeBytes;
using ossia::kTileRows;

constexpr int64_t kBlockBytes = 16;

// A word of a row: the checkpoint has columns 2 i and 2 i + 1 in byte i; here byte i has i and i + 4.
uint32_t reordered(const uint8_t* four) {
  uint8_t column[8], out[4];
  for (int i = 0; i < 8; ++i) column[i] = i % 2 ? four[i / 2] >> 4 : four[i / 2] & 15;
  for (int i = 0; i < 4; ++i) out[i] = static_cast<uint8_t>(column[i] | column[i + 4] << 4);
  uint32_t word;
  std::memcpy(&word, out, 4);
  return word;
}

}  // namespace

int ossia_interleave(
    const uint8_t* blocks, const uint8_t* scales, int64_t experts, int64_t rows, int64_t groups,
    int paired, uint8_t* out_codes, uint8_t* out_scales, int threads) {
  const int64_t tiles = rows / kTileRows;
  ossia::for_each_task(threads, experts * tiles, [&](int64_t task, int) {
    const int64_t tile = task % tiles, first_of_expert = task / tiles * rows;
    for (int r = 0; r < kTileRows; ++r) {
      const int64_t in_expert = paired ? tile / 2 * 2 * kTileRows + 2 * r + tile % 2 : tile * kTileRows + r;
      const int64_t row = first_of_expert + in_expert;
      for (int64_t group = 0; group < groups; ++group) {
        const uint8_t* block = blocks + (row * groups + group) * kBlockBytes;
        uint8_t* codes = out_codes + (task * groups + group) * kCodeBytes;
        for (int word = 0; word < 4; ++word) {
          const uint32_t four = reordered(block + word * 4);
          std::memcpy(codes + (word * kTileRows + r) * 4, &four, 4);
        }
        out_scales[(task * groups + group) * kTileRows + r] = scales[row * groups + group];
      }
    }
  });
  return OSSIA_OK;
}
