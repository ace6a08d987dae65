// What stands between the matrices of a layer, as plain loops that every set's compiler makes vectors of:
// RMSNorm, rope, attention over pages. Sums run in float32 and in a fixed order.
#include <cstdint>
#include <cstring>

#include "rows.inl"

namespace ossia {
namespace {

inline float get(const float* x, int64_t i) { return x[i]; }
inline float get(const uint16_t* x, int64_t i) { return float_of(uint32_t(x[i]) << 16); }
inline void put(float* x, int64_t i, float value) { x[i] = value; }
inline void put(uint16_t* x, int64_t i, float value) { x[i] = narrowed(value); }

template <typename Element>
void norm_row(const void* x_row, const void* weights, float eps, void* out_row, int64_t count) {
  const auto* x = static_cast<const Element*>(x_row);
  const auto* weight = static_cast<const Element*>(weights);
  auto* out = static_cast<Element*>(out_row);
  float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < count; ++i) squares += get(x, i) * get(x, i);
  const float scale = 1.0f / __builtin_sqrtf(squares / static_cast<float>(count) + eps);
  for (int64_t i = 0; i < count; ++i) put(out, i, get(x, i) * scale * get(weight, i));
}

// One head, its first half turned against its second; x may be out.
template <typename Element>
void rotate_head(const void* x_head, const float* cos, const float* sin, void* out_head, int64_t half) {
  const auto* x = static_cast<const Element*>(x_head);
  auto* out = static_cast<Element*>(out_head);
  for (int64_t i = 0; i < half; ++i) {
    const float first = get(x, i), second = get(x, half + i);
    put(out, i, first * cos[i] - second * sin[i]);
    put(out, half + i, second * cos[i] + first * sin[i]);
  }
}

constexpr int64_t kKeys = 16;  // that are looked at together

// The softmax of a query's scores, as far as keys have been seen: the largest score, and the sum of all
// weights relative to it. The sink counts from the beginning and has no value.
template <typename Element>
void attend(const AttendTask& task, float* scratch) {
  const int64_t dim = task.head_dim, group = task.group;
  const auto* q = static_cast<const Element*>(task.q);
  float* queries = scratch;                   // (group, dim), scaled
  float* sums = queries + group * dim;        // (group, dim)
  float* rows = sums + group * dim;           // (kKeys, dim)
  float* weights = rows + kKeys * dim;        // (group, kKeys)
  float* largest = weights + group * kKeys;   // (group,)
  float* total = largest + group;             // (group,)
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(dim));
  for (int64_t i = 0; i < group * dim; ++i) queries[i] = get(q, i) * scale, sums[i] = 0.0f;
  for (int64_t g = 0; g < group; ++g)
    largest[g] = get(static_cast<const Element*>(task.sinks), g), total[g] = 1.0f;
  for (int64_t first = task.first_key; first < task.end_key; first += kKeys) {
    const int64_t count = task.end_key - first < kKeys ? task.end_key - first : kKeys;
    const auto row_of = [&](const void* pages, int64_t j) {
      const int64_t position = first + j;
      const int64_t page = task.pages[position / task.page_size];
      return static_cast<const Element*>(pages) +
             (page * task.page_size + position % task.page_size) * task.row_elements;
    };
    for (int64_t j = 0; j < count; ++j) {
      const Element* key = row_of(task.k_pages, j);
      for (int64_t d = 0; d < dim; ++d) rows[j * dim + d] = get(key, d);
    }
    for (int64_t g = 0; g < group; ++g) {
      float peak = largest[g];
      float* scores = weights + g * kKeys;
      for (int64_t j = 0; j < count; ++j) {
        float score = 0.0f;
#pragma omp simd reduction(+ : score)
        for (int64_t d = 0; d < dim; ++d) score += queries[g * dim + d] * rows[j * dim + d];
        scores[j] = score;
        peak = score > peak ? score : peak;
      }
      const float shrunk = peak > largest[g] ? exponential(largest[g] - peak) : 1.0f;
      float sum = 0.0f;
      for (int64_t j = 0; j < count; ++j) scores[j] = exponential(scores[j] - peak);
      for (int64_t j = 0; j < count; ++j) sum += scores[j];
      largest[g] = peak;
      total[g] = total[g] * shrunk + sum;
      if (shrunk != 1.0f)
        for (int64_t d = 0; d < dim; ++d) sums[g * dim + d] *= shrunk;
    }
    for (int64_t j = 0; j < count; ++j) {
      const Element* value = row_of(task.v_pages, j);
      for (int64_t d = 0; d < dim; ++d) rows[j * dim + d] = get(value, d);
    }
    for (int64_t g = 0; g < group; ++g)
      for (int64_t j = 0; j < count; ++j) {
        const float weight = weights[g * kKeys + j];
        for (int64_t d = 0; d < dim; ++d) sums[g * dim + d] += weight * rows[j * dim + d];
      }
  }
  auto* out = static_cast<Element*>(task.out);
  for (int64_t g = 0; g < group; ++g)
    for (int64_t d = 0; d < dim; ++d) put(out, g * dim + d, sums[g * dim + d] / total[g]);
}

constexpr LayerOps kLayerF32 = {norm_row<float>, rotate_head<float>, attend<float>};
constexpr LayerOps kLayerBf16 = {norm_row<uint16_t>, rotate_head<uint16_t>, attend<uint16_t>};

}  // namespace
}  // namespace ossia
