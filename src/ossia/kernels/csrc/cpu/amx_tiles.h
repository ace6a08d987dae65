// AMX's instructions, each a function of the numbers of its tiles. With OSSIA_EMULATE_AMX, which only tests
// define, plain C++ does what they do, byte for byte, and ends the program where they would fault.
#pragma once
#include <cstdint>

#if defined(OSSIA_EMULATE_AMX)
#include <cstdio>
#include <cstdlib>
#include <cstring>
#endif

namespace ossia {
namespace {

constexpr int kTileLines = 16;  // at most; rows in Intel's words, which are a matrix's here
constexpr int kLineBytes = 64;  // at most

// What LDTILECFG reads: palette 1 has eight tiles.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_line = 0, reserved[14] = {};
  uint16_t line_bytes[16] = {};
  uint8_t lines[16] = {};

  constexpr void set(int tile, int count, int bytes) {
    lines[tile] = static_cast<uint8_t>(count), line_bytes[tile] = static_cast<uint16_t>(bytes);
  }
};
static_assert(sizeof(TileShapes) == 64);

#if !defined(OSSIA_EMULATE_AMX)

// The intrinsics take numbers of tiles as they stand in the source, which a template has not. Compilers keep
// volatile statements in order, and use no tiles of their own.

// Zeroes all tiles, and takes some 200 cycles.
inline void load_shapes(const TileShapes& shapes) { asm volatile("ldtilecfg %0" : : "m"(shapes)); }

// After this the system has no tiles to save when it switches threads.
inline void release_tiles() { asm volatile("tilerelease"); }

template <int kTile>
inline void zero_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}

template <int kTile>
inline void load_tile(const void* lines, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(lines), "r"(stride), "i"(kTile) : "memory");
}

template <int kTile>
inline void store_tile(void* lines, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(lines), "r"(stride), "i"(kTile) : "memory");
}

// to[m][n] += a[m][2 k + i] * b[k][2 n + i] over k and i, in bfloat16 and float32: first the sum over k for
// either i, in that order; then both of these; then what was there.
template <int kTo, int kA, int kB>
inline void add_bf16_product() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kTo), "i"(kA), "i"(kB));
}

#else

struct Tiles {
  TileShapes shapes;
  bool loaded = false;
  uint8_t bytes[8][kTileLines][kLineBytes];
};
thread_local Tiles tiles;

inline void must(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "AMX would fault: %s\n", what);
  std::abort();
}

inline int lines_of(int tile) {
  must(tiles.loaded && tiles.shapes.lines[tile] > 0, "a tile without a shape");
  return tiles.shapes.lines[tile];
}
inline int line_bytes_of(int tile) { return tiles.shapes.line_bytes[tile]; }

inline void load_shapes(const TileShapes& shapes) {
  must(shapes.palette == 1 && shapes.start_line == 0, "palette");
  for (uint8_t byte : shapes.reserved) must(byte == 0, "reserved bytes");
  for (int tile = 0; tile < 16; ++tile) {
    const int lines = shapes.lines[tile], bytes = shapes.line_bytes[tile];
    must((lines == 0) == (bytes == 0), "half a shape");
    must(lines <= kTileLines && bytes <= kLineBytes && (tile < 8 || lines == 0), "too large a shape");
  }
  tiles.shapes = shapes, tiles.loaded = true;
  std::memset(tiles.bytes, 0, sizeof(tiles.bytes));
}

inline void release_tiles() { tiles.loaded = false; }

template <int kTile>
inline void zero_tile() {
  lines_of(kTile);
  std::memset(tiles.bytes[kTile], 0, sizeof(tiles.bytes[kTile]));
}

template <int kTile>
inline void load_tile(const void* lines, int64_t stride) {
  const int count = lines_of(kTile);
  zero_tile<kTile>();
  for (int line = 0; line < count; ++line)
    std::memcpy(
        tiles.bytes[kTile][line], static_cast<const uint8_t*>(lines) + line * stride,
        static_cast<size_t>(line_bytes_of(kTile)));
}

template <int kTile>
inline void store_tile(void* lines, int64_t stride) {
  const int count = lines_of(kTile);
  for (int line = 0; line < count; ++line)
    std::memcpy(
        static_cast<uint8_t*>(lines) + line * stride, tiles.bytes[kTile][line],
        static_cast<size_t>(line_bytes_of(kTile)));
}

inline void check_product(int to, int a, int b) {
  must(to != a && to != b && a != b, "the same tile twice");
  must(lines_of(to) == lines_of(a) && line_bytes_of(to) == line_bytes_of(b), "shapes of a result");
  must(line_bytes_of(a) % 4 == 0 && line_bytes_of(b) % 4 == 0, "broken elements");
  must(line_bytes_of(a) / 4 == lines_of(b), "shapes of factors");
}

// Subnormal numbers count as 0.
inline float flushed(float x) { return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x; }

inline float bf16_in(const uint8_t* line, int element) {
  uint32_t bits = 0;
  std::memcpy(reinterpret_cast<uint8_t*>(&bits) + 2, line + 2 * element, 2);
  float x;
  std::memcpy(&x, &bits, 4);
  return flushed(x);
}

template <int kTo, int kA, int kB>
inline void add_bf16_product() {
  check_product(kTo, kA, kB);
  const int lines = lines_of(kTo), columns = line_bytes_of(kTo) / 4, pairs = lines_of(kB);
  float factors[kTileLines][kLineBytes / 2];
  for (int k = 0; k < pairs; ++k)
    for (int n = 0; n < 2 * columns; ++n) factors[k][n] = bf16_in(tiles.bytes[kB][k], n);
  for (int m = 0; m < lines; ++m) {
    float sums[kLineBytes / 2] = {}, before[kLineBytes / 4];
    for (int k = 0; k < pairs; ++k) {
      const float pair[2] = {bf16_in(tiles.bytes[kA][m], 2 * k), bf16_in(tiles.bytes[kA][m], 2 * k + 1)};
      for (int n = 0; n < 2 * columns; ++n)
        sums[n] = flushed(__builtin_fmaf(pair[n % 2], factors[k][n], sums[n]));
    }
    std::memcpy(before, tiles.bytes[kTo][m], sizeof(before));
    for (int n = 0; n < columns; ++n)
      before[n] = flushed(before[n] + flushed(sums[2 * n] + sums[2 * n + 1]));
    std::memcpy(tiles.bytes[kTo][m], before, sizeof(before));
  }
}

#endif

}  // namespace
}  // namespace ossia
