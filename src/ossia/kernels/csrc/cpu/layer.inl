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

// A key or value of one head in 8 bits, as int8_row_bytes says; NaN if it is not finite.
template <typename Element>
void put_int8_row(const void* x_row, int64_t count, uint8_t* out) {
  const auto* x = static_cast<const Element*>(x_row);
  uint32_t peak = 0;  // magnitudes compare like integers, and NaN is the largest
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t magnitude = bits_of(get(x, i)) & 0x7fffffffu;
    peak = magnitude > peak ? magnitude : peak;
  }
  const bool finite = peak < 0x7f800000u;
  const bool usable = finite && peak > 0x03000000u;  // below 4e-37 everything counts as 0
  const float largest = float_of(peak), inverse = usable ? 127.0f / largest : 0.0f;
  for (int64_t i = 0; i < count; ++i) {
    const float value = usable ? get(x, i) : 0.0f;
    // A product of its own, not one that is added to at once: halves are rounded alike by all sets.
    const float scaled = __builtin_nearbyintf(value * inverse);
    out[i] = static_cast<uint8_t>(static_cast<int8_t>(scaled));
  }
  const float scale = finite ? largest / 127.0f : float_of(0x7fc00000u);
  std::memcpy(out + count, &scale, sizeof(scale));
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

template <typename Element>
constexpr LayerOps kLayerOf = {
    norm_row<Element>, rotate_head<Element>, put_int8_row<Element>,
    {attend<Element, AsTheyAre<Element>>, attend_part<Element, AsTheyAre<Element>>},
    {attend<Element, InInt8<Element>>, attend_part<Element, InInt8<Element>>}, join_parts<Element>,
};
constexpr LayerOps kLayerF32 = kLayerOf<float>, kLayerBf16 = kLayerOf<uint16_t>;

}  // namespace
}  // namespace ossia
