// The kernels that an instruction set has to offer, and the choice among instruction sets.
//
// Sources of instruction sets are compiled with flags of their own. What they share by headers must
// have internal linkage: the linker keeps one copy of an inline function, and it may be one that this
// machine cannot run.
#pragma once
#include <cstdint>

namespace ossia {

constexpr int kGroup = 32;       // columns of a scale, in MXFP4 and in int8
constexpr int kTileRows = 16;    // rows that lie interleaved
constexpr int kCodeBytes = 256;  // of a tile's group
constexpr int kMaxTokens = 8;    // of one call of a product

// A tile of MXFP4 times rows: out[t * stride + r] = sum over k of weight[r][k] * rows[t][k].
using TileProduct = void (*)(
    const uint8_t* codes, const uint8_t* scales, int64_t groups, const uint8_t* const* rows,
    int tokens, float* out, int64_t stride);

// 32 floats as group `group` of a row.
using PutGroup = void (*)(const float* x, uint8_t* row, int64_t groups, int64_t group);

struct Product {
  int64_t group_bytes;  // of a row of operands
  PutGroup put_group;
  TileProduct mxfp4;
};

// Rows of bfloat16 weights, one behind the other, times up to kMaxTokens rows of operands:
// out[t * rows + r]. Columns are summed in chunks, so that operands stay in the first-level cache; how
// depends on the set, but not on the number of rows or tokens.
constexpr int64_t kChunk = 1024;
using DenseProduct = void (*)(
    const uint16_t* weights, int64_t columns, int64_t rows, const void* const* x, int tokens, float* out);

struct Isa {
  const char* name;
  bool (*runs)();
  Product f32;   // operands stay float32
  Product bf16;  // operands are bfloat16 already: no rounding
  Product int8;  // operands are rounded to 8 bits with a scale a group
  DenseProduct dense;
  bool dense_takes_bf16;  // as operands; else they are float32
  // Clamped SwiGLU of `count` gates and ups in float32.
  void (*swiglu)(const float* gate, const float* up, float alpha, float limit, float* out, int64_t count);
  void (*widen)(const uint16_t* x, float* out, int64_t count);   // bfloat16 to float32
  void (*narrow)(const float* x, uint16_t* out, int64_t count);  // to nearest, ties to even
};

extern const Isa portable;
#if defined(__x86_64__)
extern const Isa avx2, avx512_vnni, avx512_bf16;
#endif

const Isa& used_isa();

}  // namespace ossia
