// What stands between the matrices of a layer, as plain loops that every set's compiler makes vectors of:
// RMSNorm and rope; attend.inl has attention. Sums run in float32 and in a fixed order.
#include <cstdint>
#include <cstring>

#include "attend.inl"
#include "elements.inl"

namespace ossia {
namespace {

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

constexpr LayerOps kLayerF32 = {
    norm_row<float>, rotate_head<float>, attend<float>, attend_part<float>, join_parts<float>,
};
constexpr LayerOps kLayerBf16 = {
    norm_row<uint16_t>, rotate_head<uint16_t>, attend<uint16_t>, attend_part<uint16_t>, join_parts<uint16_t>,
};

}  // namespace
}  // namespace ossia
