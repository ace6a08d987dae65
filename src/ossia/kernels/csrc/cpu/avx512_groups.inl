// Groups of weights in AVX-512's registers, 16 rows at once, and how they are fetched.
#pragma once
#include <immintrin.h>

#include <array>
#include <utility>

#include "rows.inl"

namespace ossia {
namespace {

inline __m512 scales_of(const uint8_t* scales) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales));
  const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu8_epi32(bytes), 23);
  // Of 0 and of 255 the same bit makes what they mean: a subnormal, and NaN in place of infinity.
  const __mmask16 special = _mm_cmple_epu8_mask(_mm_add_epi8(bytes, _mm_set1_epi8(1)), _mm_set1_epi8(1));
  return _mm512_castsi512_ps(_mm512_mask_or_epi32(bits, special, bits, _mm512_set1_epi32(0x00400000)));
}

// Into the second-level cache; what is not there is no harm.
inline void fetch(const void* at) { _mm_prefetch(static_cast<const char*>(at), _MM_HINT_T1); }

// Walks ahead of a tile's groups, by so many bytes of codes (tried out on Zen 4), and at its end on to the
// next tile. Products of one token do not send one: all they do is read, which the processor sees for itself.
template <int64_t kBytes, int64_t kScaleBytes, int64_t kAhead>
class Scout {
 public:
  Scout(TileAt tile, TileAt next, int64_t groups)
      : at_{tile.codes + kGroups * kBytes, tile.scales + kGroups * kScaleBytes}, next_(next),
        left_(groups > kGroups ? groups - kGroups : 0) {
    if (left_ == 0) at_ = next_;
  }

  void step() {
    for (int64_t line = 0; line < kBytes; line += 64) fetch(at_.codes + line);
    fetch(at_.scales);
    at_.codes += kBytes, at_.scales += kScaleBytes;
    if (--left_ == 0) at_ = next_;
  }

 private:
  static constexpr int64_t kGroups = kAhead / kBytes;
  TileAt at_, next_;
  int64_t left_;
};

// Calls F<T> with the number of tokens, up to kMost, as a constant.
template <template <int> class F, int kMost, typename... Arguments>
inline void with_tokens(int tokens, Arguments... arguments) {
  using Run = void (*)(Arguments...);
  static constexpr auto all = []<int... T>(std::integer_sequence<int, T...>) {
    return std::array<Run, kMost>{F<T + 1>::run...};
  }(std::make_integer_sequence<int, kMost>());
  all[static_cast<size_t>(tokens - 1)](arguments...);
}

// MXFP4's values by code as bfloat16, twice: a permutation of 16 bits looks at the lower five.
alignas(64) constexpr uint16_t kNarrowValues[32] = {
    0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0, 0x8000, 0xbf00, 0xbf80,
    0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0, 0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040,
    0x4080, 0x40c0, 0x8000, 0xbf00, 0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0};

// A group of operands as bfloat16. Pairs of columns lie as a word of codes gives them: nibbles n and n + 4 of
// it, for n from 0 to 3.
[[maybe_unused]] void put_bf16_pairs(const float* x, uint8_t* group) {
  uint16_t* out = reinterpret_cast<uint16_t*>(group);
  for (int word = 0; word < 4; ++word)
    for (int nibble = 0; nibble < 4; ++nibble)
      for (int second = 0; second < 2; ++second)
        out[word * 8 + nibble * 2 + second] = narrowed(x[column_of(word, nibble + 4 * second)]);
}

// A group of 16 rows: raised weights, four columns of each row to a vector, and their scales.
struct Mxfp4Group {
  static constexpr int64_t kBytes = kCodeBytes, kScaleBytes = kTileRows, kAhead = 8192;
  static constexpr int kRaise = kMxfp4Raise;
  static constexpr bool kPairs = true;  // of vectors in a line of codes
  static __m512i weights(const uint8_t* codes, int i) {
    const __m512i both = _mm512_loadu_si512(codes + i / 2 * 64);
    return raised(i % 2 == 0 ? both : _mm512_srli_epi16(both, 4));
  }
  // By the lower four bits of each byte.
  static __m512i raised(__m512i codes) {
    const __m512i table =
        _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(kRaised)));
#if defined(__AVX512VBMI__)
    return _mm512_permutexvar_epi8(codes, table);  // looks at six bits; the table holds everything four times
#else
    return _mm512_shuffle_epi8(table, _mm512_and_si512(codes, _mm512_set1_epi8(15)));
#endif
  }
  static __m512 scales(const uint8_t* scales) { return scales_of(scales); }
  // Whether all of four groups are powers of two that a shift gives.
  static bool are_plain(const uint8_t* scales) {
    const __m512i raised = _mm512_add_epi8(_mm512_loadu_si512(scales), _mm512_set1_epi8(1));
    return _mm512_cmple_epu8_mask(raised, _mm512_set1_epi8(1)) == 0;
  }
  static __m512 plain_scales(const uint8_t* scales) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu8_epi32(bytes), 23));
  }
};

struct ByteGroup {
  static constexpr int64_t kBytes = kByteCodeBytes, kScaleBytes = kByteScaleBytes, kAhead = 2048;
  static constexpr int kRaise = kByteRaise;
  static constexpr bool kPairs = false;
  static __m512i weights(const uint8_t* codes, int i) { return _mm512_loadu_si512(codes + i * 64); }
  static __m512 scales(const uint8_t* scales) {
    const __m256i narrow = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scales));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
  }
  static bool are_plain(const uint8_t*) { return true; }
  static __m512 plain_scales(const uint8_t* scales) { return ByteGroup::scales(scales); }
};

}  // namespace
}  // namespace ossia
