// AVX2 with FMA. A tile is two halves of 8 rows.
#include <immintrin.h>

#include "layer.inl"
#include "sampling.inl"

namespace ossia {
namespace {

constexpr int kHalf = 8;  // rows of a vector

inline __m256 scales_of(const uint8_t* scales) {
  const __m256i bytes =
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales)));
  __m256i bits = _mm256_slli_epi32(bytes, 23);
  const __m256i zero = _mm256_cmpeq_epi32(bytes, _mm256_setzero_si256());
  const __m256i nan = _mm256_cmpeq_epi32(bytes, _mm256_set1_epi32(255));
  bits = _mm256_blendv_epi8(bits, _mm256_set1_epi32(0x00400000), zero);
  bits = _mm256_blendv_epi8(bits, _mm256_set1_epi32(0x7fc00000), nan);
  return _mm256_castsi256_ps(bits);
}

inline __m256i load(const uint8_t* at) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
}

template <int T>
void half_int8(
    const uint8_t* codes, const uint8_t* scales, int64_t groups, const uint8_t* panel,
    int64_t step, float* out, int64_t stride) {
  const __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(kRaised)));
  const __m256i low = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
  __m256 total[T];
  for (int t = 0; t < T; ++t) total[t] = _mm256_setzero_ps();
  for (int64_t group = 0; group < groups; ++group) {
    __m256i weights[8];
    for (int word = 0; word < 4; ++word) {
      const __m256i both = load(codes + group * kCodeBytes + word * 64);
      weights[2 * word] = _mm256_shuffle_epi8(table, _mm256_and_si256(both, low));
      weights[2 * word + 1] =
          _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(both, 4), low));
    }
    const __m256 scale = scales_of(scales + group * kTileRows);
    for (int t = 0; t < T; ++t) {
      const auto& x = *reinterpret_cast<const Int8Group*>(panel + group * step + t * kInt8GroupBytes);
      __m256i sums = _mm256_set1_epi32(x.correction);
      for (int part = 0; part < 2; ++part) {
        __m256i pairs = _mm256_setzero_si256();  // four times 2 * 24 * 127 fit 16 bits
        for (int i = part * 4; i < part * 4 + 4; ++i) {
          int32_t quad;
          std::memcpy(&quad, x.values + 4 * i, 4);
          pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(weights[i], _mm256_set1_epi32(quad)));
        }
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, ones));
      }
      const __m256 factor = _mm256_mul_ps(scale, _mm256_set1_ps(x.scale));
      total[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), factor, total[t]);
    }
  }
  for (int t = 0; t < T; ++t) _mm256_storeu_ps(out + t * stride, total[t]);
}

// Weights in int8; magnitudes are what is not negative here, and their signs go to the operands.
template <int T>
void half_byte(
    const uint8_t* codes, const uint8_t* scales, int64_t groups, const uint8_t* panel,
    int64_t step, float* out, int64_t stride) {
  const __m256i raise = _mm256_set1_epi8(static_cast<char>(kByteRaise)), ones = _mm256_set1_epi16(1);
  __m256 total[T];
  for (int t = 0; t < T; ++t) total[t] = _mm256_setzero_ps();
  for (int64_t group = 0; group < groups; ++group) {
    __m256i sums[T];
    for (int t = 0; t < T; ++t) sums[t] = _mm256_setzero_si256();
    for (int i = 0; i < kGroup / 4; ++i) {
      const __m256i weight =
          _mm256_sub_epi8(load(codes + group * kByteCodeBytes + i * kTileRows * 4), raise);
      const __m256i magnitude = _mm256_abs_epi8(weight);
      for (int t = 0; t < T; ++t) {
        int32_t quad;
        std::memcpy(&quad, panel + group * step + t * kInt8GroupBytes + 4 * i, 4);
        const __m256i signed_x = _mm256_sign_epi8(_mm256_set1_epi32(quad), weight);
        const __m256i pairs = _mm256_maddubs_epi16(magnitude, signed_x);  // 2 * 127 * 127 fit 16 bits
        sums[t] = _mm256_add_epi32(sums[t], _mm256_madd_epi16(pairs, ones));
      }
    }
    const __m128i narrow =
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(scales + group * kByteScaleBytes));
    const __m256 scale = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(narrow), 16));
    for (int t = 0; t < T; ++t) {
      const auto& x = *reinterpret_cast<const Int8Group*>(panel + group * step + t * kInt8GroupBytes);
      const __m256 factor = _mm256_mul_ps(scale, _mm256_set1_ps(x.scale));
      total[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[t]), factor, total[t]);
    }
  }
  for (int t = 0; t < T; ++t) _mm256_storeu_ps(out + t * stride, total[t]);
}

template <int T>
void half_f32(
    const uint8_t* codes, const uint8_t* scales, int64_t groups, const uint8_t* panel,
    int64_t step, float* out, int64_t stride) {
  const __m256 magnitudes = _mm256_load_ps(kValues);  // by a code's lower three bits
  const __m256i sign = _mm256_set1_epi32(static_cast<int>(0x80000000u));
  __m256 total[T];
  for (int t = 0; t < T; ++t) total[t] = _mm256_setzero_ps();
  for (int64_t group = 0; group < groups; ++group) {
    const __m256 scale = scales_of(scales + group * kTileRows);
    __m256 sums[T];
    for (int t = 0; t < T; ++t) sums[t] = _mm256_setzero_ps();
    for (int word = 0; word < 4; ++word) {
      const __m256i eight = load(codes + group * kCodeBytes + word * 64);
      for (int nibble = 0; nibble < 8; ++nibble) {
        const __m256i code = _mm256_srli_epi32(eight, 4 * nibble);
        const __m256 magnitude = _mm256_permutevar8x32_ps(magnitudes, code);
        const __m256i negative = _mm256_and_si256(_mm256_slli_epi32(eight, 28 - 4 * nibble), sign);
        const __m256 weight = _mm256_or_ps(magnitude, _mm256_castsi256_ps(negative));
        const int64_t k = column_of(word, nibble);
        for (int t = 0; t < T; ++t) {
          const __m256 x = _mm256_broadcast_ss(reinterpret_cast<const float*>(panel + group * step + t * kF32GroupBytes) + k);
          sums[t] = _mm256_fmadd_ps(weight, x, sums[t]);
        }
      }
    }
    for (int t = 0; t < T; ++t) total[t] = _mm256_fmadd_ps(sums[t], scale, total[t]);
  }
  for (int t = 0; t < T; ++t) _mm256_storeu_ps(out + t * stride, total[t]);
}

using HalfProduct = void (*)(
    const uint8_t* codes, const uint8_t* scales, int64_t groups, const uint8_t* panel,
    int64_t step, float* out, int64_t stride);

// Both halves of a tile, by products of half of it with four tokens and with one.
template <HalfProduct four, HalfProduct one, int kScaleBytes, int64_t kBytes>
void both_halves(
    TileAt tile, TileAt, int64_t groups, const uint8_t* panel, int tokens, float* out, int64_t stride) {
  const auto [codes, scales] = tile;
  for (int half = 0; half < 2; ++half) {
    const uint8_t* half_codes = codes + half * kHalf * 4;
    const uint8_t* half_scales = scales + half * kHalf * kScaleBytes;
    float* half_out = out + half * kHalf;
    int t = 0;
    for (; t + 4 <= tokens; t += 4)
      four(half_codes, half_scales, groups, panel + t * kBytes, tokens * kBytes, half_out + t * stride, stride);
    for (; t < tokens; ++t)
      one(half_codes, half_scales, groups, panel + t * kBytes, tokens * kBytes, half_out + t * stride, stride);
  }
}

constexpr auto mxfp4_int8 = both_halves<half_int8<4>, half_int8<1>, 1, kInt8GroupBytes>;
constexpr auto mxfp4_f32 = both_halves<half_f32<4>, half_f32<1>, 1, kF32GroupBytes>;
constexpr auto byte_int8 = both_halves<half_byte<4>, half_byte<1>, 2, kInt8GroupBytes>;

inline float sum_of(__m256 x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

// Adds the products of a row of weights with T rows of operands over columns [k, end).
template <int T>
void dense_block(
    const uint16_t* weights, int64_t k, int64_t end, const void* const* x, float* out, int64_t stride) {
  constexpr int V = 2;  // vectors at a time: one sum alone would wait for itself
  __m256 sums[V][T];
  for (int v = 0; v < V; ++v)
    for (int t = 0; t < T; ++t) sums[v][t] = _mm256_setzero_ps();
  for (; k + 8 * V <= end; k += 8 * V)
    for (int v = 0; v < V; ++v) {
      const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(weights + k + 8 * v));
      const __m256 weight = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(narrow), 16));
      for (int t = 0; t < T; ++t) {
        const __m256 values = _mm256_loadu_ps(static_cast<const float*>(x[t]) + k + 8 * v);
        sums[v][t] = _mm256_fmadd_ps(weight, values, sums[v][t]);
      }
    }
  for (int t = 0; t < T; ++t) {
    float sum = sum_of(_mm256_add_ps(sums[0][t], sums[1][t]));
    for (int64_t i = k; i < end; ++i)
      sum += float_of(uint32_t(weights[i]) << 16) * static_cast<const float*>(x[t])[i];
    out[t * stride] += sum;
  }
}

template <int T>
void dense_tokens(
    const uint16_t* weights, int64_t columns, int64_t rows, const void* const* x, float* out) {
  // For one token whole rows one after the other, which is how memory likes to be read.
  const int64_t at_once = T == 1 ? 1 : rows;
  for (int64_t row = 0; row < rows; row += at_once)
    for (int64_t k = 0; k < columns; k += kChunk) {
      const int64_t end = k + kChunk < columns ? k + kChunk : columns;
      for (int64_t r = row; r < row + at_once; ++r)
        dense_block<T>(weights + r * columns, k, end, x, out + r, rows);
    }
}

void dense(
    const uint16_t* weights, int64_t columns, int64_t rows, const void* const* x, int tokens,
    float* out) {
  for (int64_t i = 0; i < rows * tokens; ++i) out[i] = 0.0f;
  int t = 0;
  for (; t + 4 <= tokens; t += 4) dense_tokens<4>(weights, columns, rows, x + t, out + t * rows);
  for (; t < tokens; ++t) dense_tokens<1>(weights, columns, rows, x + t, out + t * rows);
}

const char* obstacle() {
  const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has ? nullptr : "the processor lacks AVX2";
}

constexpr Product kF32 = {kVectorTokens, kCodeBytes, kTileRows, kF32GroupBytes, put_f32, mxfp4_f32};

}  // namespace

extern const Isa avx2 = {
    "avx2", obstacle, kF32,
    {kVectorTokens / 2, kCodeBytes, kTileRows, kPlanesGroupBytes, put_planes_for_mxfp4, multiply_planes<mxfp4_int8>},
    {kVectorTokens, kCodeBytes, kTileRows, kInt8GroupBytes, put_int8_for_mxfp4, mxfp4_int8},
    {kVectorTokens, kByteCodeBytes, kByteScaleBytes, kInt8GroupBytes, put_int8_for_int8, byte_int8},
    {kVectorTokens / 2, kByteCodeBytes, kByteScaleBytes, kPlanesGroupBytes, put_planes_for_int8, multiply_planes<byte_int8>},
    dense, false, kLayerF32, kLayerBf16, read, swiglu, widen, narrow, add, sum_rows,
    kSampling,
};

}  // namespace ossia
