// What the AVX-512 sources share: products of 16 rows at once, in float32 and, with VNNI, in int8.
#include "avx512_groups.inl"
#include "layer.inl"

namespace ossia {
namespace {

// Adds four columns of 16 rows times four operands. In one instruction, which compilers make two of.
inline void add_quads(__m512i& sums, __m512i weights, const int8_t* operands) {
  using Quad [[gnu::may_alias]] = int32_t;
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sums) : "v"(weights), "m"(*reinterpret_cast<const Quad*>(operands)));
}

// Adds a group of 16 raised rows times a group of operands; weights(i) has the rows' columns 4 i to 4 i + 3.
// Two sums take turns: one would wait for itself.
template <typename Weights>
inline __m512 add_group(__m512 total, Weights&& weights, __m512 scale, const uint8_t* operands) {
  const Int8Group& x = *reinterpret_cast<const Int8Group*>(operands);
  __m512i sums[2] = {_mm512_set1_epi32(x.correction), _mm512_setzero_si512()};
  for (int i = 0; i < 8; ++i) add_quads(sums[i % 2], weights(i), x.values + 4 * i);
  const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(x.scale));
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(sums[0], sums[1])), factor, total);
}

// The same where a line of codes has two vectors' weights. Lines are loaded once and in their order: compilers
// would load each for either vector, by more instructions of wider strides, which memory is fetched for less well.
template <typename Group>
inline __m512 add_lines(__m512 total, const uint8_t* codes, __m512 scale, const uint8_t* operands) {
  const Int8Group& x = *reinterpret_cast<const Int8Group*>(operands);
  __m512i sums[2] = {_mm512_set1_epi32(x.correction), _mm512_setzero_si512()};
  for (int line = 0; line < 4; ++line) {
    __m512i both = _mm512_loadu_si512(codes + line * 64);
    asm volatile("" : "+v"(both));
    const __m512i first = Group::raised(both), second = Group::raised(_mm512_srli_epi16(both, 4));
    add_quads(sums[0], first, x.values + 8 * line);
    add_quads(sums[1], second, x.values + 8 * line + 4);
  }
  const __m512 factor = _mm512_mul_ps(scale, _mm512_set1_ps(x.scale));
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(sums[0], sums[1])), factor, total);
}

template <typename Group>
struct Int8 {
  template <int T>
  struct Tile {
    static void run(
        TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, float* out, int64_t stride) {
      Scout<Group::kBytes, Group::kScaleBytes, Group::kAhead> scout(tile, next, groups);
      __m512 total[T];
      for (int t = 0; t < T; ++t) total[t] = _mm512_setzero_ps();
      for (int64_t group = 0; group < groups; ++group) {
        scout.step();
        const uint8_t* codes = tile.codes + group * Group::kBytes;
        const __m512 scale = Group::scales(tile.scales + group * Group::kScaleBytes);
        __m512i all[8];
        for (int i = 0; i < 8; ++i) all[i] = Group::weights(codes, i);
        const auto weights = [&](int i) { return all[i]; };
        for (int t = 0; t < T; ++t)
          total[t] = add_group(total[t], weights, scale, panel + (group * T + t) * kInt8GroupBytes);
      }
      for (int t = 0; t < T; ++t) _mm512_storeu_ps(out + t * stride, total[t]);
    }
  };

  // All that one token does is read. The more of it a processor has under way, the faster: so weights are used
  // as they come, of some groups at once it is seen that their scales are plain powers of two, and the next
  // tile's beginning is on its way while this one's results are looked after.
  static void alone(TileAt tile, TileAt next, int64_t groups, const uint8_t* operands, float* out) {
    constexpr int64_t kAtOnce = 4, kBeginning = 1024;
    __m512 total = _mm512_setzero_ps();
    const auto add = [&](int64_t group, __m512 scale) {
      const uint8_t* codes = tile.codes + group * Group::kBytes;
      const uint8_t* x = operands + group * kInt8GroupBytes;
      if constexpr (Group::kPairs) total = add_lines<Group>(total, codes, scale, x);
      else total = add_group(total, [&](int i) { return Group::weights(codes, i); }, scale, x);
    };
    int64_t group = 0;
    for (; group + kAtOnce <= groups; group += kAtOnce) {
      const uint8_t* scales = tile.scales + group * Group::kScaleBytes;
      if (Group::are_plain(scales)) [[likely]]
        for (int64_t i = 0; i < kAtOnce; ++i) add(group + i, Group::plain_scales(scales + i * Group::kScaleBytes));
      else
        for (int64_t i = 0; i < kAtOnce; ++i) add(group + i, Group::scales(scales + i * Group::kScaleBytes));
    }
    for (; group < groups; ++group) add(group, Group::scales(tile.scales + group * Group::kScaleBytes));
    for (int64_t byte = 0; byte < kBeginning; byte += 64) fetch(next.codes + byte);
    for (int64_t byte = 0; byte < kBeginning / 16; byte += 64) fetch(next.scales + byte);
    _mm512_storeu_ps(out, total);
  }

  static void tile(
      TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, int tokens, float* out,
      int64_t stride) {
    if (tokens == 1) alone(tile, next, groups, panel, out);
    else with_tokens<Tile, kVectorTokens>(tokens, tile, next, groups, panel, out, stride);
  }
};

constexpr int kFewTokens = 8;  // of a panel of floats: their sums fill the registers

template <int T>
struct TileF32 {
  static void run(
      TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, float* out, int64_t stride) {
    const auto [codes, scales] = tile;
    Scout<kCodeBytes, kTileRows, Mxfp4Group::kAhead> scout(tile, next, groups);
    const __m512 table = _mm512_load_ps(kValues);
    __m512 total[T];
    for (int t = 0; t < T; ++t) total[t] = _mm512_setzero_ps();
    for (int64_t group = 0; group < groups; ++group) {
      scout.step();
      const __m512 scale = scales_of(scales + group * kTileRows);
      __m512 sums[T];
      for (int t = 0; t < T; ++t) sums[t] = _mm512_setzero_ps();
      for (int word = 0; word < 4; ++word) {
        const __m512i eight = _mm512_loadu_si512(codes + group * kCodeBytes + word * 64);
#pragma GCC unroll 8
        for (int nibble = 0; nibble < 8; ++nibble) {
          // The permutation looks at the lower four bits only.
          const __m512 weight = _mm512_permutexvar_ps(_mm512_srli_epi32(eight, 4 * nibble), table);
          const int64_t k = column_of(word, nibble);
          for (int t = 0; t < T; ++t) {
            const float x = reinterpret_cast<const float*>(panel + (group * T + t) * kF32GroupBytes)[k];
            sums[t] = _mm512_fmadd_ps(weight, _mm512_set1_ps(x), sums[t]);
          }
        }
      }
      for (int t = 0; t < T; ++t) total[t] = _mm512_fmadd_ps(sums[t], scale, total[t]);
    }
    for (int t = 0; t < T; ++t) _mm512_storeu_ps(out + t * stride, total[t]);
  }
};

void mxfp4_f32(
    TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, int tokens, float* out,
    int64_t stride) {
  with_tokens<TileF32, kFewTokens>(tokens, tile, next, groups, panel, out, stride);
}

// Adds the products of a row of bfloat16 weights with T rows of operands over columns [k, end). A Step says
// how many columns a vector has, how it is loaded and multiplied.
constexpr int64_t kDenseAhead = 4096;  // columns

template <typename Step, int T>
void dense_block(
    const uint16_t* weights, int64_t k, int64_t end, const void* const* x, float* out, int64_t stride) {
  __m512 sums[T];
  for (int t = 0; t < T; ++t) sums[t] = _mm512_setzero_ps();
  for (; k + Step::kColumns <= end; k += Step::kColumns) {
    // With one token the processor looks far enough ahead by itself.
    if constexpr (T > 1) fetch(weights + k + kDenseAhead);
    const typename Step::Vector weight = Step::weights(weights + k);
    for (int t = 0; t < T; ++t) sums[t] = Step::multiply(sums[t], weight, Step::x(x[t], k));
  }
  if (k < end) {
    const typename Step::Vector weight = Step::some_weights(weights + k, end - k);
    for (int t = 0; t < T; ++t)
      sums[t] = Step::multiply(sums[t], weight, Step::some_x(x[t], k, end - k));
  }
  for (int t = 0; t < T; ++t) out[t * stride] += _mm512_reduce_add_ps(sums[t]);
}

template <typename Step>
struct Dense {
  template <int T>
  struct Tokens {  // row by row: this is how memory likes to be read
    static void run(
        const uint16_t* weights, int64_t columns, int64_t rows, const void* const* x, float* out,
        int64_t stride) {
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t k = 0; k < columns; k += kChunk)
          dense_block<Step, T>(
              weights + r * columns, k, k + kChunk < columns ? k + kChunk : columns, x, out + r, stride);
    }
  };

  // Operands of few tokens fit the first-level cache; rows stay in the second until all have had them.
  static constexpr int kTokens = Step::kColumns / 8;
  static constexpr int64_t kRows = 8;

  static void run(
      const uint16_t* weights, int64_t columns, int64_t rows, const void* const* x, int tokens,
      float* out) {
    for (int64_t i = 0; i < rows * tokens; ++i) out[i] = 0.0f;
    for (int64_t r = 0; r < rows; r += kRows)
      for (int t = 0; t < tokens; t += kTokens)
        with_tokens<Tokens, kTokens>(
            tokens - t < kTokens ? tokens - t : kTokens, weights + r * columns, columns,
            rows - r < kRows ? rows - r : kRows, x + t, out + t * rows + r, rows);
  }
};

inline __mmask32 first(int64_t count) { return count >= 32 ? ~0u : (1u << count) - 1; }

struct StepF32 {
  using Vector = __m512;
  static constexpr int64_t kColumns = 16;
  static Vector widened(__m256i narrow) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
  }
  static Vector x(const void* x, int64_t k) { return _mm512_loadu_ps(static_cast<const float*>(x) + k); }
  static Vector some_x(const void* x, int64_t k, int64_t count) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>(first(count)), static_cast<const float*>(x) + k);
  }
  static Vector weights(const uint16_t* at) {
    return widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  }
  static Vector some_weights(const uint16_t* at, int64_t count) {
    return widened(_mm256_maskz_loadu_epi16(static_cast<__mmask16>(first(count)), at));
  }
  static __m512 multiply(__m512 sum, Vector weight, Vector x) { return _mm512_fmadd_ps(weight, x, sum); }
};

const char* vnni_obstacle() {
  const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma") &&
                   __builtin_cpu_supports("avx2");
  return has ? nullptr : "the processor lacks AVX-512 with VNNI";
}

using Mxfp4Int8 = Int8<Mxfp4Group>;
using ByteInt8 = Int8<ByteGroup>;
constexpr Product kF32 = {kFewTokens, kCodeBytes, kTileRows, kF32GroupBytes, put_f32, mxfp4_f32};
constexpr Product kMxfp4Int8 = {
    kVectorTokens, kCodeBytes, kTileRows, kInt8GroupBytes, put_int8_for_mxfp4, Mxfp4Int8::tile};
constexpr Product kInt8 = {
    kVectorTokens, kByteCodeBytes, kByteScaleBytes, kInt8GroupBytes, put_int8_for_int8, ByteInt8::tile};
constexpr Product kInt8Planes = {
    kVectorTokens / 2, kByteCodeBytes, kByteScaleBytes, kPlanesGroupBytes, put_planes_for_int8,
    multiply_planes<ByteInt8::tile>};

}  // namespace
}  // namespace ossia
