// AMX: products of several tokens in tiles of 16 tokens by 16 rows; for fewer tokens, and for everything
// else, avx512_bf16. Intel from Sapphire Rapids on. Cycles are those that Intel states, worked out, not
// measured.
//
// A tile product takes 16 cycles, whether its factors have 32 columns (of int8: half of what fits) or 64.
// Weights and int8 operands both have a scale for 32 columns, so that sums of two groups must not meet in an
// integer. So it is 32, and each 16 by 16 sums go through memory (16 cycles of stores, beside others) to
// vectors, which convert, scale and add them: three instructions for 16 sums, two at a time, 24 cycles.
// avx512_bf16 needs 12 instructions for 16 sums, 96 cycles. A factor of bfloat16 holds its scale, and 32
// columns fill a tile: what it adds up stays in tiles to the end, 16 cycles a group, where avx512_bf16 needs
// 128 to 256. Weights are expanded once for all tokens of a panel: 16 cycles a group in int8, about 28 in
// bfloat16, which four tiles of tokens hide.
#include "amx_tiles.h"
#include "avx512_groups.inl"

namespace ossia {
namespace {

// Fewer tokens are multiplied by vectors: shapes take 200 cycles to load, weights have to be expanded, and
// one product waits for another 52 cycles.
constexpr int kLeastInt8Tokens = 8, kLeastBf16Tokens = 6;

// Tokens of a panel as tiles of `lines` tokens each; the last tile may begin with some of the one before.
struct TokenTiles {
  int count, lines, tokens;

  explicit TokenTiles(int tokens)
      : count((tokens + kTileLines - 1) / kTileLines), lines((tokens + count - 1) / count), tokens(tokens) {}
  int first(int tile) const { return tile + 1 < count ? tile * lines : tokens - lines; }
};

// Shapes for a product: results and operands with a line for each token, weights with 64 bytes for each 16
// rows.
class Shaped {
 public:
  Shaped(int lines, int group_bytes) {
    TileShapes shapes;
    for (int tile : {0, 1, 2, 3}) shapes.set(tile, lines, kTileRows * 4);
    for (int tile : {4, 5}) shapes.set(tile, lines, group_bytes);
    for (int tile : {6, 7}) shapes.set(tile, group_bytes / 4, kTileRows * 4);
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

// Four groups of 16 rows as signed bytes, four columns of each row to a vector, and their scales.
struct alignas(64) ByteWeights {
  static constexpr int kGroups = 4;
  int8_t bytes[kGroups][kGroup * kTileRows];
  float scales[kGroups][kTileRows];

  template <typename Group, typename Scout>
  void expand(TileAt tile, int64_t first, int count, Scout& scout) {
    for (int i = 0; i < count; ++i) {
      scout.step();
      const uint8_t* codes = tile.codes + (first + i) * Group::kBytes;
      for (int quad = 0; quad < kGroup / 4; ++quad)
        _mm512_store_si512(
            bytes[i] + quad * 64,
            _mm512_sub_epi8(Group::weights(codes, quad), _mm512_set1_epi8(Group::kRaise)));
      _mm512_store_ps(scales[i], Group::scales(tile.scales + (first + i) * Group::kScaleBytes));
    }
  }
};

// A tile of tokens times four groups of weights, fewer at the end of a row.
struct Int8Step {
  const ByteWeights* weights;
  const uint8_t* operands;  // of the panel's first token in the first of the groups
  int64_t group_bytes;      // from one group of the panel to the next
  int count;                // of groups
  int first, from, end;     // tokens: the tile's first, those whose results are looked at
  bool is_beginning;        // of the rows
};

template <typename Group>
struct TileInt8 {
  using Sums = int32_t[ByteWeights::kGroups][kTileLines][kTileRows];

  // Sums of each group by itself; as many results are on their way at once.
  template <int kCount>
  static void multiply(const Int8Step& step, Sums& sums) {
    const uint8_t* operands = step.operands + step.first * kInt8GroupBytes;
    const ByteWeights& weights = *step.weights;
    const int64_t group_bytes = step.group_bytes;
    unrolled<kCount>([&](auto i) __attribute__((always_inline)) {
      zero_tile<i>();
      load_tile<4 + i % 2>(operands + i * group_bytes, kInt8GroupBytes);
      load_tile<6 + i % 2>(weights.bytes[i], kTileRows * 4);
      add_int8_product<i, 4 + i % 2, 6 + i % 2>();
    });
    unrolled<kCount>([&](auto i) __attribute__((always_inline)) { store_tile<i>(sums[i], kTileRows * 4); });
  }

  // In the order and with the roundings of avx512_bf16: a token gets the same in any number of them.
  template <int kCount>
  static void add(const Int8Step& step, const Sums& sums, float* out, int64_t stride) {
    const ByteWeights& weights = *step.weights;
    for (int token = step.from; token < step.end; ++token) {
      float* to = out + token * stride;
      __m512 total = step.is_beginning ? _mm512_setzero_ps() : _mm512_loadu_ps(to);
      const uint8_t* operands = step.operands + token * kInt8GroupBytes;
      for (int i = 0; i < kCount; ++i, operands += step.group_bytes) {
        const Int8Group& x = *reinterpret_cast<const Int8Group*>(operands);
        const __m512 factor = _mm512_mul_ps(_mm512_load_ps(weights.scales[i]), _mm512_set1_ps(x.scale));
        const __m512i sum = _mm512_load_si512(sums[i][token - step.first]);
        total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, total);
      }
      _mm512_storeu_ps(to, total);
    }
  }

  static void run(
      TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, int tokens, float* out,
      int64_t stride) {
    constexpr std::array multiplies = {multiply<1>, multiply<2>, multiply<3>, multiply<4>};
    constexpr std::array adds = {add<1>, add<2>, add<3>, add<4>};
    constexpr int64_t kGroups = ByteWeights::kGroups, kRing = 4;
    const int64_t group_bytes = tokens * kInt8GroupBytes;
    const TokenTiles tiles(tokens);
    const Shaped shaped(tiles.lines, kGroup);
    Scout<Group::kBytes, Group::kScaleBytes, Group::kAhead> scout(tile, next, groups);
    // What was stored last is too new to be loaded soon, above all by tiles. So weights are expanded some
    // groups before they are used, and sums are added while the next ones are on their way.
    ByteWeights ring[kRing];
    alignas(64) Sums sums[2];
    Int8Step before = {};
    int steps = 0;
    const auto count_at = [&](int64_t group) {
      return static_cast<int>(groups - group < kGroups ? groups - group : kGroups);
    };
    for (int64_t group = -kGroups; group < groups; group += kGroups) {
      const int64_t ahead = group + kGroups;
      if (ahead < groups)
        ring[ahead / kGroups % kRing].template expand<Group>(tile, ahead, count_at(ahead), scout);
      for (int i = 0; group >= 0 && i < tiles.count; ++i) {
        const int first = tiles.first(i);
        const Int8Step step = {
            &ring[group / kGroups % kRing], panel + group * group_bytes, group_bytes, count_at(group),
            first, i * tiles.lines, first + tiles.lines, group == 0};
        multiplies[static_cast<size_t>(step.count - 1)](step, sums[steps % 2]);
        if (steps > 0)
          adds[static_cast<size_t>(before.count - 1)](before, sums[(steps - 1) % 2], out, stride);
        before = step, ++steps;
      }
    }
    adds[static_cast<size_t>(before.count - 1)](before, sums[(steps - 1) % 2], out, stride);
  }
};

void mxfp4_int8(
    TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, int tokens, float* out, int64_t stride) {
  const auto multiply = tokens < kLeastInt8Tokens ? avx512_bf16.mxfp4_int8.tile : TileInt8<Mxfp4Group>::run;
  multiply(tile, next, groups, panel, tokens, out, stride);
}

void byte_int8(
    TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, int tokens, float* out, int64_t stride) {
  const auto multiply = tokens < kLeastInt8Tokens ? avx512_bf16.int8.tile : TileInt8<ByteGroup>::run;
  multiply(tile, next, groups, panel, tokens, out, stride);
}

// Tiles add bfloat16 in two sums, of which each has one column of every pair, and vpdpbf16ps adds the later
// column of a pair before the earlier one. So that both add in the same order, a pair for tiles has a column
// of the group's first half and one of its second half: pair 2 i has the later columns of pairs i and i + 8
// as vectors take them, pair 2 i + 1 the earlier ones.
constexpr int64_t kBf16GroupBytes = kGroup * 2;
constexpr int kPairs = kGroup / 2;

void put_bf16(const float* x, uint8_t* group) {
  uint16_t* out = reinterpret_cast<uint16_t*>(group);
  for (int pair = 0; pair < kPairs; ++pair) {
    const int word = pair / 8, nibble = pair / 2 % 4 + (pair % 2 == 0 ? 4 : 0);
    out[2 * pair] = narrowed(x[column_of(word, nibble)]);
    out[2 * pair + 1] = narrowed(x[column_of(word + 2, nibble)]);
  }
}

// Where the columns of vectors' pairs lie among those for tiles.
alignas(64) constexpr uint16_t kVectorOrder[kGroup] = {
    2, 0, 6, 4, 10, 8, 14, 12, 18, 16, 22, 20, 26, 24, 30, 28,
    3, 1, 7, 5, 11, 9, 15, 13, 19, 17, 23, 21, 27, 25, 31, 29};

// Adds pairs of columns of 16 rows times a pair of operands. In one instruction, which compilers make two of.
inline void add_pairs(__m512& sums, __m512i weights, const int32_t* operands) {
  asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sums) : "v"(weights), "m"(*operands));
}

// Few tokens by vectors. Scales are powers of two, so that the sums are the same whether they are multiplied
// before or after.
template <int T>
struct FewBf16 {
  static void run(
      TileAt tile, TileAt next, int64_t groups, const uint8_t* operands, int64_t group_bytes, float* out,
      int64_t stride) {
    Scout<kCodeBytes, kTileRows, Mxfp4Group::kAhead> scout(tile, next, groups);
    const __m512i table = _mm512_load_si512(kNarrowValues), order = _mm512_load_si512(kVectorOrder);
    __m512 total[T];
    for (int t = 0; t < T; ++t) total[t] = _mm512_setzero_ps();
    for (int64_t group = 0; group < groups; ++group) {
      scout.step();
      alignas(64) int32_t pairs[T][kPairs];
      for (int t = 0; t < T; ++t) {
        const __m512i x = _mm512_loadu_si512(operands + group * group_bytes + t * kBf16GroupBytes);
        _mm512_store_si512(pairs[t], _mm512_permutexvar_epi16(order, x));
      }
      __m512 sums[T][2];
      for (int t = 0; t < T; ++t) sums[t][0] = sums[t][1] = _mm512_setzero_ps();
#pragma GCC unroll 16
      for (int i = 0; i < kPairs; ++i) {
        const int half = i % 2, pair = half * 8 + i / 2;
        const __m512i eight = _mm512_loadu_si512(tile.codes + group * kCodeBytes + pair / 4 * 64);
        const __m512i weights =
            _mm512_permutexvar_epi16(_mm512_srli_epi16(eight, static_cast<unsigned>(4 * (pair % 4))), table);
        for (int t = 0; t < T; ++t) add_pairs(sums[t][half], weights, pairs[t] + pair);
      }
      const __m512 scale = scales_of(tile.scales + group * kTileRows);
      for (int t = 0; t < T; ++t)
        total[t] = _mm512_fmadd_ps(_mm512_add_ps(sums[t][0], sums[t][1]), scale, total[t]);
    }
    for (int t = 0; t < T; ++t) _mm512_storeu_ps(out + t * stride, total[t]);
  }
};

// In tiles weights hold their scale, which must leave them and what they are multiplied by room among the
// normal numbers: from 2**-63 to 2**63. Models have no others; tiles of rows that have are left to vectors.
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

// A group of 16 rows as bfloat16 with their scale: exponents are lowered, and what is 0 stays so by
// saturation.
inline void expand_bf16(TileAt tile, int64_t group, uint16_t* pairs) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(tile.scales + group * kTileRows));
  const __m512i lower = _mm512_sub_epi32(_mm512_set1_epi32(kLargestScale), _mm512_cvtepu8_epi32(bytes));
  const __m512i once = _mm512_slli_epi32(lower, 7);  // where bfloat16 has its exponent
  const __m512i both = _mm512_or_si512(once, _mm512_slli_epi32(once, 16));
  const __m512i table = _mm512_load_si512(kLargestValues);
  constexpr __mmask32 kSecond = 0xaaaaaaaa;
  for (int word = 0; word < 2; ++word) {
    const uint8_t* codes = tile.codes + group * kCodeBytes + word * 64;
    const __m512i one = _mm512_loadu_si512(codes), other = _mm512_loadu_si512(codes + 2 * 64);
    const __m512i later = _mm512_mask_blend_epi16(kSecond, _mm512_srli_epi32(one, 16), other);
    const __m512i earlier = _mm512_mask_blend_epi16(kSecond, one, _mm512_slli_epi32(other, 16));
#pragma GCC unroll 8
    for (int pair = 0; pair < 8; ++pair) {
      const __m512i four = pair % 2 == 0 ? later : earlier;
      const __m512i weights =
          _mm512_permutexvar_epi16(_mm512_srli_epi16(four, static_cast<unsigned>(4 * (pair / 2))), table);
      _mm512_store_si512(pairs + (word * 8 + pair) * 32, _mm512_subs_epu16(weights, both));
    }
  }
}

template <int kTiles>
void multiply_bf16(
    TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, const TokenTiles& tiles, float* out,
    int64_t stride) {
  constexpr int64_t kRing = 4, kAhead = 2;  // groups; see TileInt8
  alignas(64) uint16_t ring[kRing][kGroup * kTileRows];
  Scout<kCodeBytes, kTileRows, Mxfp4Group::kAhead> scout(tile, next, groups);
  const Shaped shaped(tiles.lines, kBf16GroupBytes);
  const int64_t group_bytes = tiles.tokens * kBf16GroupBytes, line_bytes = stride * int64_t(sizeof(float));
  const uint8_t* operands[kTiles];
  for (int i = 0; i < kTiles; ++i) operands[i] = panel + tiles.first(i) * kBf16GroupBytes;
  unrolled<kTiles>([](auto i) __attribute__((always_inline)) { zero_tile<i>(); });
  for (int64_t group = -kAhead; group < groups; ++group) {
    if (group + kAhead < groups) {
      scout.step();
      expand_bf16(tile, group + kAhead, ring[(group + kAhead) % kRing]);
    }
    if (group < 0) continue;
    load_tile<6>(ring[group % kRing], kTileRows * 4);
    unrolled<kTiles>([&](auto i) __attribute__((always_inline)) {
      load_tile<4 + i % 2>(operands[i] + group * group_bytes, kBf16GroupBytes);
      add_bf16_product<i, 4 + i % 2, 6>();
    });
  }
  unrolled<kTiles>([&](auto i) __attribute__((always_inline)) {
    store_tile<i>(out + tiles.first(i) * stride, line_bytes);
  });
}

void mxfp4_bf16(
    TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, int tokens, float* out, int64_t stride) {
  constexpr int kFew = kLeastBf16Tokens - 1;
  if (tokens <= kFew || !are_moderate(tile.scales, groups)) {
    for (int first = 0; first < tokens; first += kFew)
      with_tokens<FewBf16, kFew>(
          tokens - first < kFew ? tokens - first : kFew, tile, next, groups, panel + first * kBf16GroupBytes,
          tokens * kBf16GroupBytes, out + first * stride, stride);
    return;
  }
  const TokenTiles tiles(tokens);
  constexpr auto all = std::array{multiply_bf16<1>, multiply_bf16<2>, multiply_bf16<3>, multiply_bf16<4>};
  all[static_cast<size_t>(tiles.count) - 1](tile, next, groups, panel, tiles, out, stride);
}

}  // namespace

extern const Products amx_products = {
    put_bf16, mxfp4_bf16, mxfp4_int8, byte_int8, multiply_planes<byte_int8>};

}  // namespace ossia
