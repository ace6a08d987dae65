// AVX-512 with VNNI, BF16 and VBMI: as avx512_vnni, and products of bfloat16 pairs. Intel from Sapphire Rapids,
// AMD from Zen 4 on.
#include "avx512.inl"
#include "sampling.inl"

namespace ossia {
namespace {

constexpr int64_t kBf16GroupBytes = kGroup * 2;

template <int T>
struct TileBf16 {
  // With few tokens a sum would wait for itself: two take turns.
  static constexpr int kTurns = T <= 4 ? 2 : 1;

  static void run(
      TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, float* out, int64_t stride) {
    const auto [codes, scales] = tile;
    Scout<kCodeBytes, kTileRows, Mxfp4Group::kAhead> scout(tile, next, groups);
    const __m512i table = _mm512_load_si512(kNarrowValues);
    __m512 total[T];
    for (int t = 0; t < T; ++t) total[t] = _mm512_setzero_ps();
    for (int64_t group = 0; group < groups; ++group) {
      scout.step();
      const __m512 scale = scales_of(scales + group * kTileRows);
      __m512 sums[T][kTurns];
      for (int t = 0; t < T; ++t)
        for (int turn = 0; turn < kTurns; ++turn) sums[t][turn] = _mm512_setzero_ps();
      for (int word = 0; word < 4; ++word) {
        const __m512i eight = _mm512_loadu_si512(codes + group * kCodeBytes + word * 64);
#pragma GCC unroll 4
        for (int nibble = 0; nibble < 4; ++nibble) {
          const __m512i weight =
              _mm512_permutexvar_epi16(_mm512_srli_epi16(eight, 4 * nibble), table);
          for (int t = 0; t < T; ++t) {
            int32_t pair;
            std::memcpy(&pair, panel + (group * T + t) * kBf16GroupBytes + (word * 8 + nibble * 2) * 2, 4);
            __m512& sum = sums[t][nibble % kTurns];
            sum = _mm512_dpbf16_ps(
                sum, reinterpret_cast<__m512bh>(weight),
                reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair)));
          }
        }
      }
      for (int t = 0; t < T; ++t) {
        if constexpr (kTurns == 2) sums[t][0] = _mm512_add_ps(sums[t][0], sums[t][1]);
        total[t] = _mm512_fmadd_ps(sums[t][0], scale, total[t]);
      }
    }
    for (int t = 0; t < T; ++t) _mm512_storeu_ps(out + t * stride, total[t]);
  }
};

void mxfp4_bf16(
    TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, int tokens, float* out,
    int64_t stride) {
  with_tokens<TileBf16, kFewTokens>(tokens, tile, next, groups, panel, out, stride);
}

struct StepBf16 {
  using Vector = __m512bh;
  static constexpr int64_t kColumns = 32;
  static Vector weights(const uint16_t* at) { return reinterpret_cast<__m512bh>(_mm512_loadu_si512(at)); }
  static Vector some_weights(const uint16_t* at, int64_t count) {
    return reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi16(first(count), at));
  }
  static Vector x(const void* x, int64_t k) { return weights(static_cast<const uint16_t*>(x) + k); }
  static Vector some_x(const void* x, int64_t k, int64_t count) {
    return some_weights(static_cast<const uint16_t*>(x) + k, count);
  }
  static __m512 multiply(__m512 sum, Vector weight, Vector x) { return _mm512_dpbf16_ps(sum, weight, x); }
};

const char* obstacle() {
  if (const char* missing = vnni_obstacle()) return missing;
  const bool has = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi");
  return has ? nullptr : "the processor lacks AVX-512 BF16 or VBMI";
}

}  // namespace

extern const Isa avx512_bf16 = {
    "avx512_bf16", obstacle, kF32, {kFewTokens, kCodeBytes, kTileRows, kBf16GroupBytes, put_bf16_pairs, mxfp4_bf16}, kMxfp4Int8, kInt8, kInt8Planes, Dense<StepBf16>::run, true, kLayerF32, kLayerBf16, read, swiglu, widen, narrow, add, sum_rows,
    kSampling,
};

}  // namespace ossia
