// AMX: products of many bfloat16 tokens by experts in tiles of 16 tokens by 16 rows. Intel from Sapphire
// Rapids on.
//
// Weights of bfloat16 hold their scale, so that what a row adds up stays in tiles to its end. They are
// expanded once for all tokens of a panel.
//
// Tiles in int8 were tried, and gained nothing: weights and operands both have a scale for 32 columns, so
// that each 16 by 16 sums leave their tile after 32 columns (half of what fits), through memory, to be
// converted, scaled and added by vectors. 512 tokens of gpt-oss-20b's experts took 31.5 ms that way, 28.5 ms
// by VNNI and 15.3 ms in tiles of bfloat16. So many operands of 8 bits go through the latter, too.
#include "amx_tiles.h"
#include "avx512_groups.inl"

namespace ossia {
namespace {

// Tokens of an expert from which on tiles are faster. gpt-oss-20b's experts on 16 threads, ms: 4 tokens an
// expert 3.6 in vectors, 5 to 12 in tiles 3.4 to 4.3, and in avx512_vnni's vectors 4.2 at 5, 8.9 at 12. Of 8
// bits 9 in vectors 3.8 to 4.1, 10 to 12 in tiles 3.9 to 4.7, where vectors take 4.5 and 5.6.
constexpr int kLeastTokens = 5, kLeastInt8Tokens = 10;

// Tokens of a panel as tiles of `lines` tokens each; the last tile may begin with some of the one before.
struct TokenTiles {
  int count, lines, tokens;

  explicit TokenTiles(int tokens)
      : count((tokens + kTileLines - 1) / kTileLines), lines((tokens + count - 1) / count), tokens(tokens) {}
  int first(int tile) const { return tile + 1 < count ? tile * lines : tokens - lines; }
};

constexpr int64_t kGroupBytes = kGroup * 2;  // of operands
constexpr int kPairs = kGroup / 2;           // of columns: what lies in 32 bits of a tile

// Shapes for a product: results and operands with a line for each token, weights with one for each pair of
// columns.
class Shaped {
 public:
  explicit Shaped(int lines) {
    TileShapes shapes;
    for (int tile : {0, 1, 2, 3}) shapes.set(tile, lines, kTileRows * 4);
    for (int tile : {4, 5}) shapes.set(tile, lines, kGroupBytes);
    shapes.set(6, kPairs, kTileRows * 4);
    load_shapes(shapes);
  }
  Shaped(const Shaped&) = delete;
  ~Shaped() { release_tiles(); }
};

// Calls body with each number below kCount as a constant, in place: what it refers to stays in registers.
template <int kCount, int kFrom = 0, typename F>
[[gnu::always_inline]] inline void unrolled(F body) {
  if constexpr (kFrom < kCount) {
    body(std::integral_constant<int, kFrom>());
    unrolled<kCount, kFrom + 1>(body);
  }
}

// As 8 bits hold them. A whole number up to 127 fits bfloat16; times its scale it is rounded once more, by
// half as much as the first time at most.
void put_int8_as_bf16(const float* x, uint8_t* out) {
  Int8Group group;
  put_int8_for_mxfp4(x, reinterpret_cast<uint8_t*>(&group));
  const float scale = 2.0f * group.scale;  // that of doubled weights
  float rounded[kGroup];
  for (int i = 0; i < kGroup; ++i) rounded[i] = scale * static_cast<float>(group.values[i]);
  put_bf16_pairs(rounded, out);
}

// In tiles weights hold their scale, which must leave them and what they are multiplied by room among the
// normal numbers: from 2**-63 to 2**63. Models have no others.
constexpr int kLeastScale = 64, kLargestScale = 190;

bool are_moderate(const uint8_t* scales, int64_t groups) {
  __mmask16 outside = 0;
  for (int64_t group = 0; group < groups; ++group) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + group * kTileRows));
    outside |= _mm_cmpgt_epu8_mask(
        _mm_sub_epi8(bytes, _mm_set1_epi8(kLeastScale)), _mm_set1_epi8(kLargestScale - kLeastScale));
  }
  return outside == 0;
}

// MXFP4's values by code times the largest scale as bfloat16, twice, without a negative 0.
alignas(64) constexpr uint16_t kLargestValues[32] = {
    0x0000, 0x5e80, 0x5f00, 0x5f40, 0x5f80, 0x5fc0, 0x6000, 0x6040, 0x0000, 0xde80, 0xdf00,
    0xdf40, 0xdf80, 0xdfc0, 0xe000, 0xe040, 0x0000, 0x5e80, 0x5f00, 0x5f40, 0x5f80, 0x5fc0,
    0x6000, 0x6040, 0x0000, 0xde80, 0xdf00, 0xdf40, 0xdf80, 0xdfc0, 0xe000, 0xe040};

using Weights = uint16_t[kPairs][2 * kTileRows];

// A group of 16 rows as the table has them, less `lower`: that lowers exponents, and what is 0 stays so by
// saturation.
inline void expand(const uint8_t* codes, __m512i table, __m512i lower, Weights& weights) {
  for (int word = 0; word < 4; ++word) {
    const __m512i eight = _mm512_loadu_si512(codes + word * 64);
#pragma GCC unroll 4
    for (int nibble = 0; nibble < 4; ++nibble) {
      const __m512i pair =
          _mm512_permutexvar_epi16(_mm512_srli_epi16(eight, static_cast<unsigned>(4 * nibble)), table);
      _mm512_store_si512(weights[word * 4 + nibble], _mm512_subs_epu16(pair, lower));
    }
  }
}

// With their scales.
inline void expand_scaled(TileAt tile, int64_t group, Weights& weights) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(tile.scales + group * kTileRows));
  const __m512i lower = _mm512_sub_epi32(_mm512_set1_epi32(kLargestScale), _mm512_cvtepu8_epi32(bytes));
  const __m512i once = _mm512_slli_epi32(lower, 7);  // where bfloat16 has its exponent
  const __m512i both = _mm512_or_si512(once, _mm512_slli_epi32(once, 16));
  expand(tile.codes + group * kCodeBytes, _mm512_load_si512(kLargestValues), both, weights);
}

template <int kTiles>
void multiply(
    TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, const TokenTiles& tiles, float* out,
    int64_t stride) {
  // What was stored last is too new to be loaded soon, above all by tiles. So weights are expanded some
  // groups before they are used.
  constexpr int64_t kRing = 4, kAhead = 2;
  alignas(64) Weights ring[kRing];
  Scout<kCodeBytes, kTileRows, Mxfp4Group::kAhead> scout(tile, next, groups);
  const Shaped shaped(tiles.lines);
  const int64_t group_bytes = tiles.tokens * kGroupBytes, line_bytes = stride * int64_t(sizeof(float));
  const uint8_t* operands[kTiles];
  for (int i = 0; i < kTiles; ++i) operands[i] = panel + tiles.first(i) * kGroupBytes;
  unrolled<kTiles>([](auto i) __attribute__((always_inline)) { zero_tile<i>(); });
  for (int64_t group = -kAhead; group < groups; ++group) {
    if (group + kAhead < groups) {
      scout.step();
      expand_scaled(tile, group + kAhead, ring[(group + kAhead) % kRing]);
    }
    if (group < 0) continue;
    load_tile<6>(ring[group % kRing], kTileRows * 4);
    unrolled<kTiles>([&](auto i) __attribute__((always_inline)) {
      load_tile<4 + i % 2>(operands[i] + group * group_bytes, kGroupBytes);
      add_bf16_product<i, 4 + i % 2, 6>();
    });
  }
  unrolled<kTiles>([&](auto i) __attribute__((always_inline)) {
    store_tile<i>(out + tiles.first(i) * stride, line_bytes);
  });
}

// Any scales: the sums of a group leave their tile to be scaled.
void multiply_apart(
    TileAt tile, int64_t groups, const uint8_t* panel, const TokenTiles& tiles, float* out, int64_t stride) {
  const Shaped shaped(tiles.lines);
  alignas(64) Weights weights;
  alignas(64) float sums[kTileLines][kTileRows];
  for (int i = 0; i < tiles.count; ++i) {
    __m512 total[kTileLines];
    for (int line = 0; line < tiles.lines; ++line) total[line] = _mm512_setzero_ps();
    for (int64_t group = 0; group < groups; ++group) {
      expand(
          tile.codes + group * kCodeBytes, _mm512_load_si512(kNarrowValues), _mm512_setzero_si512(), weights);
      zero_tile<0>();
      load_tile<6>(weights, kTileRows * 4);
      load_tile<4>(panel + (group * tiles.tokens + tiles.first(i)) * kGroupBytes, kGroupBytes);
      add_bf16_product<0, 4, 6>();
      store_tile<0>(sums, kTileRows * 4);
      const __m512 scale = scales_of(tile.scales + group * kTileRows);
      for (int line = 0; line < tiles.lines; ++line)
        total[line] = _mm512_fmadd_ps(_mm512_load_ps(sums[line]), scale, total[line]);
    }
    for (int line = 0; line < tiles.lines; ++line)
      _mm512_storeu_ps(out + (tiles.first(i) + line) * stride, total[line]);
  }
}

void mxfp4_bf16(
    TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, int tokens, float* out, int64_t stride) {
  const TokenTiles tiles(tokens);
  if (!are_moderate(tile.scales, groups)) {
    multiply_apart(tile, groups, panel, tiles, out, stride);
    return;
  }
  constexpr auto all = std::array{multiply<1>, multiply<2>, multiply<3>, multiply<4>};
  all[static_cast<size_t>(tiles.count) - 1](tile, next, groups, panel, tiles, out, stride);
}

constexpr Product product(PutGroup put) {
  return {kMaxTokens, kCodeBytes, kTileRows, kGroupBytes, put, mxfp4_bf16};
}

}  // namespace

extern const ManyTokens amx_bf16 = {kLeastTokens, product(put_bf16_pairs)};
extern const ManyTokens amx_int8 = {kLeastInt8Tokens, product(put_int8_as_bf16)};

}  // namespace ossia
