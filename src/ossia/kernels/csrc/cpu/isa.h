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
constexpr int kCodeBytes = 256;  // of a tile's group in MXFP4
constexpr int kByteCodeBytes = kTileRows * kGroup;  // in int8
constexpr int kByteScaleBytes = kTileRows * 2;
constexpr int kMaxTokens = 64;     // of one call of a product: a panel
constexpr int kVectorTokens = 16;  // of a panel of products in vectors

// A tile of weights times a panel of operands x: out[t * stride + r] = sum over k of weight[r][k] * x[t][k].
// A panel holds group 0 of each of its tokens, then group 1 of each, so that it is read from one end to the
// other. `next` is the tile that will be asked for next, if that is known: memory is slow to begin.
struct TileAt {
  const uint8_t* codes;
  const uint8_t* scales;
};
using TileProduct = void (*)(
    TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, int tokens, float* out, int64_t stride);

// 32 floats as a group of operands.
using PutGroup = void (*)(const float* x, uint8_t* out);

struct Product {
  int max_tokens;                   // of a panel; at most kMaxTokens
  int64_t code_bytes, scale_bytes;  // of a group of a tile
  int64_t group_bytes;              // of operands
  PutGroup put_group;
  TileProduct tile;
};

// What is better for `least` tokens of an expert and more.
struct ManyTokens {
  int least;
  Product product;
};
constexpr ManyTokens kNothingBetter = {INT32_MAX, {}};

// Where a group of a token lies in its panel.
static inline int64_t place_of(const Product& product, int64_t group, int tokens, int token) {
  return (group * tokens + token) * product.group_bytes;
}

// A tile of a matrix by its number.
static inline TileAt tile_at(const Product& product, TileAt matrix, int64_t groups, int64_t tile) {
  return {matrix.codes + tile * groups * product.code_bytes, matrix.scales + tile * groups * product.scale_bytes};
}

// Rows of bfloat16 weights, one behind the other, times up to kDenseTokens rows of operands:
// out[t * rows + r]. Columns are summed in chunks, so that operands stay in the first-level cache; how
// depends on the set, but not on the number of rows or tokens.
constexpr int kDenseTokens = 8;
constexpr int64_t kChunk = 4096;
using DenseProduct = void (*)(
    const uint16_t* weights, int64_t columns, int64_t rows, const void* const* x, int tokens, float* out);

// Consecutive tokens of a sequence with the query heads of some key heads. Of these, each makes a matrix of
// rows: tokens * group.
struct AttendTile {
  const void* q;        // (tokens, kv_heads * group, head_dim), tokens q_elements apart
  const void* k_pages;  // (pages, page_size, all key heads, head_dim), or rows of 8 bits, from the first of these on
  const void* v_pages;
  const int32_t* pages;  // of the sequence, by position / page_size
  const void* sinks;     // (kv_heads * group,)
  void* out;             // as q
  int64_t position;      // of the first token
  int64_t tokens, kv_heads, group, head_dim, page_size, q_elements;
  int64_t row_elements;  // from a key to the next in its page; bytes for rows of 8 bits
  int64_t window;        // keys that a token sees at most; 0 for all
};

// Positions of a part, which is what of a sequence is attended to by itself; it begins at a multiple of this.
constexpr int64_t kAttendPart = 256;

static inline constexpr int64_t attend_padded_dim(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }
static inline constexpr int64_t attend_padded_rows(int64_t rows) {
  return rows <= 8 ? 8 : rows <= 16 ? 16 : (rows + 31) / 32 * 32;
}

// Floats of what is known of a tile after some parts, and of what else a tile needs meanwhile.
static inline constexpr int64_t attend_state(int64_t kv_heads, int64_t rows, int64_t head_dim) {
  return kv_heads * attend_padded_rows(rows) * (attend_padded_dim(head_dim) + 2);
}
static inline constexpr int64_t attend_scratch(int64_t kv_heads, int64_t rows, int64_t head_dim) {
  const int64_t queries = kv_heads * attend_padded_rows(rows) * attend_padded_dim(head_dim);
  const int64_t block = kv_heads * 2 * (32 * attend_padded_dim(head_dim) + 32) + 32 * 32;
  const int64_t beside = 3 * attend_padded_dim(head_dim) + attend_padded_rows(rows);
  return (queries + block + 2 * attend_state(kv_heads, rows, head_dim) + beside + 15) / 16 * 16;
}

// How a row of keys or values lies in its page where it has 8 bits for each: integers, and behind them the
// float32 that they are multiples of.
static inline constexpr int64_t int8_row_bytes(int64_t head_dim) { return head_dim + 4; }

// For one type of floats, and one way of storing keys and values.
struct AttendOps {
  // All parts of a tile one after the other; or one of them, to be joined with the others by LayerOps.
  void (*attend)(const AttendTile& tile, int64_t first_part, int64_t end_part, float* scratch);
  void (*attend_part)(const AttendTile& tile, int64_t part, float* state, float* scratch);
};

// For one type of floats.
struct LayerOps {
  void (*norm_row)(const void* x, const void* weight, float eps, void* out, int64_t count);
  void (*rotate_head)(const void* x, const float* cos, const float* sin, void* out, int64_t half);
  void (*put_int8_row)(const void* x, int64_t count, uint8_t* out);
  AttendOps pages, int8_pages;
  void (*join_parts)(
      const AttendTile& tile, const float* states, int64_t stride, int64_t parts, float* scratch);
};

constexpr int64_t kReadBytes = 256;

// A row of logits is looked at in blocks of so many.
constexpr int64_t kSampleBlock = 128;  // so that bytes tell where in it

// What becomes of a logit: scaled is (logit - peak) / temperature, its weight e to the power of that; 0
// below `least`, and where that is less than e**-87.
struct Weighing {
  float peak, temperature, least;
};

struct SamplingOps {
  // The largest of each block of `count` logits; NaN for the first block if there is one anywhere.
  void (*find_peaks)(const float* logits, int64_t count, float* peaks);
  void (*weigh_block)(const float* logits, int64_t count, const Weighing& how, float* scaled, float* weights);
  // The sum of each block's weights; blocks are passed over by their peaks.
  void (*sum_weights)(
      const float* logits, int64_t count, const float* peaks, const Weighing& how, double* sums);
  // Which of a block's numbers lie from `from` to `to`; returns how many.
  int64_t (*find_between)(const float* x, int64_t count, float from, float to, uint8_t* found);
};

struct Isa {
  const char* name;
  const char* (*obstacle)();  // why this machine does not run it; null if it does
  // MXFP4 by operands that stay float32, that are bfloat16 already, or that are rounded to 8 bits with a
  // scale a group.
  Product mxfp4_f32, mxfp4_bf16, mxfp4_int8;
  // Weights in int8 by operands rounded to 8 bits, and by pairs of those: see put_planes.
  Product int8, int8_planes;
  DenseProduct dense;
  bool dense_takes_bf16;  // as operands; else they are float32
  LayerOps layer_f32, layer_bf16;
  // Exclusive or of words, whole kReadBytes; fetches so many bytes ahead, if any.
  uint64_t (*read)(const uint8_t* bytes, int64_t count, int64_t ahead);
  // Clamped SwiGLU of `count` gates and ups in float32.
  void (*swiglu)(const float* gate, const float* up, float alpha, float limit, float* out, int64_t count);
  void (*widen)(const uint16_t* x, float* out, int64_t count);   // bfloat16 to float32
  void (*narrow)(const float* x, uint16_t* out, int64_t count);  // to nearest, ties to even
  void (*add)(uint16_t* x, const uint16_t* y, int64_t count);    // x += y, in bfloat16
  // The sum of rows of `count` floats, each times its weight, `stride` floats apart, in their order.
  void (*sum_rows)(
      const float* rows, int64_t stride, const float* weights, int64_t row_count, float* out, int64_t count);
  SamplingOps sampling;
  // Instead of mxfp4_bf16, and of mxfp4_int8 for tokens in bfloat16. Both take bfloat16, the second rounded
  // to 8 bits before.
  ManyTokens many_bf16 = kNothingBetter, many_int8 = kNothingBetter;
};

extern const Isa portable;
#if defined(__x86_64__)
extern const Isa avx2, avx512_vnni, avx512_bf16;

// What AMX adds to avx512_bf16.
extern const ManyTokens amx_bf16, amx_int8;
const char* amx_obstacle();
#elif defined(__aarch64__)
extern const Isa neon_dotprod;
#endif

const Isa& used_isa();

}  // namespace ossia
