// What sampling does with every logit, as plain loops.
#if defined(__AVX__)
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>

#include "rows.inl"

namespace ossia {
namespace {

inline float larger(float x, float y) { return x > y ? x : y; }

// Of magnitudes as integers, where NaN is the largest.
inline int32_t magnitude_of(float x) { return static_cast<int32_t>(bits_of(x) & 0x7fffffffu); }

// A vector's lanes as one, in halves.
template <typename Operation>
inline float folded(const Lanes& lanes, Operation operation) {
  using Half __attribute__((vector_size(kLanes * 2))) = float;
  Half parts[2];
  std::memcpy(parts, &lanes, sizeof(lanes));
  const Half half = operation(parts[0], parts[1]);  // as a vector: compilers take wide ones apart badly
  float halves[kLanes / 2];
  std::memcpy(halves, &half, sizeof(half));
#pragma GCC unroll 3
  for (int width = kLanes / 4; width > 0; width /= 2)
#pragma GCC unroll 4
    for (int lane = 0; lane < width; ++lane) halves[lane] = operation(halves[lane], halves[lane + width]);
  return halves[0];
}

// The largest of each block. A NaN anywhere becomes the first block's; comparisons alone would lose it.
void find_peaks(const float* logits, int64_t count, float* peaks) {
  using Whole __attribute__((vector_size(kLanes * 4))) = int32_t;
  Whole magnitudes = {};
  int64_t first = 0;
  for (; first + kSampleBlock <= count; first += kSampleBlock) {
    Lanes best;
    std::memcpy(&best, logits + first, sizeof(best));
    for (int64_t i = first; i < first + kSampleBlock; i += kLanes) {
      Lanes lanes;
      Whole whole;
      std::memcpy(&lanes, logits + i, sizeof(lanes));
      std::memcpy(&whole, logits + i, sizeof(whole));
      whole &= 0x7fffffff;
      best = lanes > best ? lanes : best;
      magnitudes = whole > magnitudes ? whole : magnitudes;
    }
    peaks[first / kSampleBlock] = folded(best, [](auto x, auto y) { return x > y ? x : y; });
  }
  int32_t magnitude = 0;
  for (int lane = 0; lane < kLanes; ++lane)
    magnitude = magnitudes[lane] > magnitude ? magnitudes[lane] : magnitude;
  if (first < count) {
    float best = logits[first];
    for (int64_t i = first; i < count; ++i) {
      best = larger(logits[i], best);
      magnitude = magnitude_of(logits[i]) > magnitude ? magnitude_of(logits[i]) : magnitude;
    }
    peaks[first / kSampleBlock] = best;
  }
  if (magnitude > 0x7f800000) peaks[0] = float_of(static_cast<uint32_t>(magnitude));
}

inline float scaled_of(float logit, const Weighing& how) { return (logit - how.peak) / how.temperature; }

// The exponential is one from -87 on: a weight below that counts as 0.
inline float weight_of(float scaled, float least) {
  const float power = exponential_within(scaled);
  return scaled >= least ? power : 0.0f;
}

inline float least_of(const Weighing& how) { return larger(how.least, -87.0f); }

void weigh_block(const float* logits, int64_t count, const Weighing& how, float* scaled, float* weights) {
  const float least = least_of(how);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    scaled[i] = scaled_of(logits[i], how);
    weights[i] = weight_of(scaled[i], least);
  }
}

void sum_weights(const float* logits, int64_t count, const float* peaks, const Weighing& how, double* sums) {
  const float least = least_of(how);
  for (int64_t first = 0; first < count; first += kSampleBlock) {
    double& out = sums[first / kSampleBlock];
    out = 0.0;
    if (scaled_of(peaks[first / kSampleBlock], how) < least) continue;
    const int64_t size = first + kSampleBlock <= count ? kSampleBlock : count - first;
    float scaled[kSampleBlock], weights[kSampleBlock];
    weigh_block(logits + first, size, how, scaled, weights);
    for (int64_t i = size; i < kSampleBlock; ++i) weights[i] = 0.0f;
    Lanes sum = {};
    for (int64_t i = 0; i < kSampleBlock; i += kLanes) {
      Lanes lanes;
      std::memcpy(&lanes, weights + i, sizeof(lanes));
      sum += lanes;
    }
    out = folded(sum, [](auto x, auto y) { return x + y; });
  }
}

// Bit i is set if x[i] lies from `from` to `to`.
inline uint32_t lanes_between(const float* x, float from, float to) {
#if defined(__AVX512F__)
  const __m512 lanes = _mm512_loadu_ps(x);
  const __mmask16 above = _mm512_cmp_ps_mask(lanes, _mm512_set1_ps(from), _CMP_GE_OQ);
  return _mm512_mask_cmp_ps_mask(above, lanes, _mm512_set1_ps(to), _CMP_LE_OQ);
#elif defined(__AVX__)
  const __m256 lanes = _mm256_loadu_ps(x);
  const __m256 above = _mm256_cmp_ps(lanes, _mm256_set1_ps(from), _CMP_GE_OQ);
  const __m256 below = _mm256_cmp_ps(lanes, _mm256_set1_ps(to), _CMP_LE_OQ);
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_and_ps(above, below)));
#else
  uint32_t found = 0;
  for (int lane = 0; lane < kLanes; ++lane) found |= uint32_t((x[lane] >= from) & (x[lane] <= to)) << lane;
  return found;
#endif
}

int64_t find_between(const float* x, int64_t count, float from, float to, uint8_t* found) {
  int64_t num = 0, i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (uint32_t lanes = lanes_between(x + i, from, to); lanes != 0; lanes &= lanes - 1)
      found[num++] = static_cast<uint8_t>(i + __builtin_ctz(lanes));
  for (; i < count; ++i)
    if (x[i] >= from && x[i] <= to) found[num++] = static_cast<uint8_t>(i);
  return num;
}

constexpr SamplingOps kSampling = {find_peaks, weigh_block, sum_weights, find_between};

}  // namespace
}  // namespace ossia
