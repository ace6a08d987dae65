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

// A register of the set.
#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
using Lanes __attribute__((vector_size(kLanes * 4))) = float;

template <typename Element>
inline const Element* row_at(const AttendTask& task, const void* pages, int64_t position) {
  const int64_t page = task.pages[position / task.page_size];
  return static_cast<const Element*>(pages) +
         (page * task.page_size + position % task.page_size) * task.row_elements;
}

// Keys, or values, of up to kKeys positions as rows of float32. Rows lie far apart, so the next ones are
// fetched meanwhile.
template <typename Element>
inline void gather(
    const AttendTask& task, const void* pages, int64_t first, int64_t count, int64_t dim, float* rows) {
  const int64_t next_end = first + 2 * kKeys < task.end_key ? first + 2 * kKeys : task.end_key;
  for (int64_t position = first + kKeys; position < next_end; ++position) {
    const char* row = reinterpret_cast<const char*>(row_at<Element>(task, pages, position));
    for (int64_t at = 0; at < dim * int64_t(sizeof(Element)); at += 64) __builtin_prefetch(row + at);
  }
  for (int64_t j = 0; j < count; ++j) {
    const Element* row = row_at<Element>(task, pages, first + j);
    for (int64_t d = 0; d < dim; ++d) rows[j * dim + d] = get(row, d);
  }
}

inline float dot(const float* x, const float* y, int64_t count) {
  Lanes sums = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Lanes left, right;
    std::memcpy(&left, x + i, sizeof(left));
    std::memcpy(&right, y + i, sizeof(right));
    sums += left * right;
  }
  float halves[kLanes];
  std::memcpy(halves, &sums, sizeof(sums));
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int lane = 0; lane < width; ++lane) halves[lane] += halves[lane + width];
  for (; i < count; ++i) halves[0] += x[i] * y[i];
  return halves[0];
}

// The softmax runs along: the largest score so far, the sum of all weights relative to it, and the sum of
// values so weighted. The sink counts from the beginning and has no value. kDim is the size of heads
// where it is known beforehand, else 0.
template <typename Element, int64_t kDim>
void attend_heads(const AttendTask& task, float* scratch) {
  const int64_t dim = kDim ? kDim : task.head_dim, group = task.group;
  const auto* q = static_cast<const Element*>(task.q);
  float* queries = scratch;                  // (group, dim), scaled
  float* sums = queries + group * dim;       // (group, dim)
  float* rows = sums + group * dim;          // (kKeys, dim)
  float* weights = rows + kKeys * dim;       // (group, kKeys)
  float* largest = weights + group * kKeys;  // (group,)
  float* total = largest + group;            // (group,)
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(dim));
  for (int64_t i = 0; i < group * dim; ++i) queries[i] = get(q, i) * scale, sums[i] = 0.0f;
  for (int64_t g = 0; g < group; ++g)
    largest[g] = get(static_cast<const Element*>(task.sinks), g), total[g] = 1.0f;
  for (int64_t first = task.first_key; first < task.end_key; first += kKeys) {
    const int64_t count = task.end_key - first < kKeys ? task.end_key - first : kKeys;
    gather<Element>(task, task.k_pages, first, count, dim, rows);
    for (int64_t g = 0; g < group; ++g) {
      float peak = largest[g], sum = 0.0f, scores[kKeys] = {};
      for (int64_t j = 0; j < count; ++j) {
        scores[j] = dot(queries + g * dim, rows + j * dim, dim);
        peak = scores[j] > peak ? scores[j] : peak;
      }
      const float shrunk = peak > largest[g] ? exponential(largest[g] - peak) : 1.0f;
      for (int64_t j = 0; j < kKeys; ++j) weights[g * kKeys + j] = exponential(scores[j] - peak);
      for (int64_t j = 0; j < count; ++j) sum += weights[g * kKeys + j];
      largest[g] = peak;
      total[g] = total[g] * shrunk + sum;
      if (shrunk != 1.0f)
        for (int64_t d = 0; d < dim; ++d) sums[g * dim + d] *= shrunk;
    }
    gather<Element>(task, task.v_pages, first, count, dim, rows);
    for (int64_t g = 0; g < group; ++g) {
      if constexpr (kDim > 0) {  // small enough for registers
        Lanes kept[kDim / kLanes];
        std::memcpy(kept, sums + g * kDim, sizeof(kept));
        for (int64_t j = 0; j < count; ++j)
          for (int64_t part = 0; part < kDim / kLanes; ++part) {
            Lanes row;
            std::memcpy(&row, rows + j * kDim + part * kLanes, sizeof(row));
            kept[part] += weights[g * kKeys + j] * row;
          }
        std::memcpy(sums + g * kDim, kept, sizeof(kept));
      } else {
        for (int64_t j = 0; j < count; ++j) {
          const float weight = weights[g * kKeys + j];
          for (int64_t d = 0; d < dim; ++d) sums[g * dim + d] += weight * rows[j * dim + d];
        }
      }
    }
  }
  auto* out = static_cast<Element*>(task.out);
  for (int64_t g = 0; g < group; ++g)
    for (int64_t d = 0; d < dim; ++d) put(out, g * dim + d, sums[g * dim + d] / total[g]);
}

template <typename Element>
void attend(const AttendTask& task, float* scratch) {
  if (task.head_dim == 64) return attend_heads<Element, 64>(task, scratch);  // all released models
  attend_heads<Element, 0>(task, scratch);
}

uint64_t read(const uint8_t* bytes, int64_t count, int64_t ahead) {
  using Words __attribute__((vector_size(kLanes * 4))) = uint64_t;
  constexpr int kParts = 4;
  Words sums[kParts] = {};
  for (int64_t at = 0; at < count; at += int64_t(sizeof(sums))) {
    if (ahead > 0)
      for (int64_t line = 0; line < int64_t(sizeof(sums)); line += 64)
        __builtin_prefetch(bytes + at + ahead + line, 0, 2);
    for (int part = 0; part < kParts; ++part) {
      Words words;
      std::memcpy(&words, bytes + at + part * int64_t(sizeof(words)), sizeof(words));
      sums[part] ^= words;
    }
  }
  uint64_t sum = 0;
  for (const Words& words : sums)
    for (int lane = 0; lane < kLanes / 2; ++lane) sum ^= words[lane];
  return sum;
}

constexpr LayerOps kLayerF32 = {norm_row<float>, rotate_head<float>, attend<float>};
constexpr LayerOps kLayerBf16 = {norm_row<uint16_t>, rotate_head<uint16_t>, attend<uint16_t>};

}  // namespace
}  // namespace ossia
