// From the checkpoint's order of MXFP4 to tiles of 16 rows.
#include <cstring>

#include "isa.h"
#include "memory.h"
#include "ossia_cpu.h"
#include "pool.h"

namespace {

using ossia::kCodeBytes;
using ossia::kTileRows;

constexpr int64_t kBlockBytes = 16;
constexpr int kWords = 4;  // of a row in a block, 8 columns each

// The lower 16 bits, a nibble in the lower half of each byte.
inline uint32_t spread(uint32_t nibbles) {
  nibbles = (nibbles | nibbles << 8) & 0x00ff00ffu;
  return (nibbles | nibbles << 4) & 0x0f0f0f0fu;
}

// The checkpoint has columns 2 i and 2 i + 1 in byte i of a word; here byte i has i and i + 4.
inline uint32_t reordered(uint32_t word) { return spread(word & 0xffffu) | spread(word >> 16) << 4; }

}  // namespace

int ossia_interleave(
    const uint8_t* blocks, const uint8_t* scales, int64_t experts, int64_t rows, int64_t groups,
    int paired, uint8_t* out_codes, uint8_t* out_scales, int threads) {
  const int64_t tiles = rows / kTileRows;
  ossia::ask_for_large_pages(out_codes, experts * rows * groups * kBlockBytes);
  ossia::ask_for_large_pages(out_scales, experts * rows * groups);
  ossia::for_each_task(threads, experts * tiles, [&](int64_t task, int) {
    const int64_t tile = task % tiles, first_of_expert = task / tiles * rows;
    int64_t rows_at[kTileRows];
    for (int r = 0; r < kTileRows; ++r)
      rows_at[r] = first_of_expert +
                   (paired ? tile / 2 * 2 * kTileRows + 2 * r + tile % 2 : tile * kTileRows + r);
    for (int64_t group = 0; group < groups; ++group) {
      uint32_t words[kTileRows * kWords], out[kWords * kTileRows];
      for (int r = 0; r < kTileRows; ++r)
        std::memcpy(words + r * kWords, blocks + (rows_at[r] * groups + group) * kBlockBytes, kBlockBytes);
      for (int i = 0; i < kTileRows * kWords; ++i) words[i] = reordered(words[i]);
      for (int word = 0; word < kWords; ++word)
        for (int r = 0; r < kTileRows; ++r) out[word * kTileRows + r] = words[r * kWords + word];
      std::memcpy(out_codes + (task * groups + group) * kCodeBytes, out, sizeof(out));
      for (int r = 0; r < kTileRows; ++r)
        out_scales[(task * groups + group) * kTileRows + r] = scales[rows_at[r] * groups + group];
    }
  });
  ossia::gather_in_large_pages(out_codes, experts * rows * groups * kBlockBytes);
  ossia::gather_in_large_pages(out_scales, experts * rows * groups);
  return OSSIA_OK;
}
