// Plain loops over floats. Every source of an instruction set includes this file, and its compiler
// turns the loops into that set's vectors; the unnamed namespace keeps the copies apart.
#pragma once
#include <cstdint>
#include <cstring>

#include "isa.h"

namespace ossia {
namespace {

// 2 * value + 12 by code, as bytes: what products of unsigned with signed bytes take. A group's sum is
// then too large by 12 * sum(x).
alignas(64) constexpr uint8_t kRaised[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
alignas(64) constexpr float kValues[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                           -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

inline uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

inline float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// The power of two that a scale byte means; 0 is subnormal, 255 NaN.
inline float scale_of(uint8_t byte) {
  const uint32_t bits = byte == 0 ? 0x00400000u : byte == 255 ? 0x7fc00000u : uint32_t(byte) << 23;
  return float_of(bits);
}

inline uint16_t narrowed(float x) {
  const uint32_t bits = bits_of(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

[[maybe_unused]] void widen(const uint16_t* x, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = float_of(uint32_t(x[i]) << 16);
}

[[maybe_unused]] void narrow(const float* x, uint16_t* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = narrowed(x[i]);
}

// x += y, rounded to bfloat16.
[[maybe_unused]] void add(uint16_t* x, const uint16_t* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    x[i] = narrowed(float_of(uint32_t(x[i]) << 16) + float_of(uint32_t(y[i]) << 16));
}

[[maybe_unused]] void sum_rows(
    const float* rows, int64_t stride, const float* weights, int64_t row_count, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = weights[0] * rows[i];
  for (int64_t row = 1; row < row_count; ++row)
    for (int64_t i = 0; i < count; ++i) out[i] += weights[row] * rows[row * stride + i];
}

// e**x for x from -87 to 88 to about 2 units in the last place, by Cody and Waite's reduction and a Taylor
// polynomial; NaN stays NaN.
inline float exponential_within(float x) {
  const float shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2**23: rounds to a whole number
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * float_of((bits_of(shifted) + 127u) << 23);
}

// The same for any x, which counts as -87 below and as 88 above.
inline float exponential(float x) {
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  return exponential_within(x);
}

[[maybe_unused]] void swiglu(const float* gate, const float* up, float alpha, float limit, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    float g = gate[i], u = up[i];
    g = g > limit ? limit : g;  // comparisons keep NaN, which a minimum hides
    u = u > limit ? limit : u;
    u = u < -limit ? -limit : u;
    out[i] = g / (1.0f + exponential(-alpha * g)) * (u + 1.0f);
  }
}

// A group of float32 operands is just that.
constexpr int64_t kF32GroupBytes = kGroup * 4;
[[maybe_unused]] void put_f32(const float* x, uint8_t* out) { std::memcpy(out, x, kF32GroupBytes); }

// A group of int8 operands.
struct Int8Group {
  int8_t values[kGroup];
  float scale;
  int32_t correction;  // what the weights' being raised adds to a sum, negated
};
constexpr int64_t kInt8GroupBytes = sizeof(Int8Group);

// For weights that were doubled `kDoubled` times and then raised by kRaise, so that they are not negative.
template <int kDoubled, int kRaise>
void put_int8(const float* x, uint8_t* out) {
  uint32_t peak = 0;  // magnitudes compare like integers, and NaN is the largest
  for (int i = 0; i < kGroup; ++i) {
    const uint32_t magnitude = bits_of(x[i]) & 0x7fffffffu;
    peak = magnitude > peak ? magnitude : peak;
  }
  const bool finite = peak < 0x7f800000u;
  const bool usable = finite && peak > 0x03000000u;  // below 4e-37 everything counts as 0
  const float largest = float_of(peak);
  const float inverse = usable ? 127.0f / largest : 0.0f;
  Int8Group group;
  int32_t sum = 0;
  float scaled[kGroup];
  for (int i = 0; i < kGroup; ++i) scaled[i] = usable ? x[i] * inverse : 0.0f;
  // Sets that multiply and add at once would round halves, which bfloat16 often gives, otherwise than the rest.
  asm volatile("" : : "r"(scaled) : "memory");
  for (int i = 0; i < kGroup; ++i) {
    const float rounded = scaled[i] + 12582912.0f;  // 1.5 * 2**23
    const int32_t whole = static_cast<int32_t>(bits_of(rounded) - 0x4b400000u);
    group.values[i] = static_cast<int8_t>(whole);
    sum += whole;
  }
  group.scale = finite ? largest / (127.0f * (1 << kDoubled)) : float_of(0x7fc00000u);
  group.correction = -kRaise * sum;
  std::memcpy(out, &group, sizeof(group));
}

// A group as the sum of two: the second holds what the first's rounding left out, so that both together are
// off by 1/64,000 of the largest of the group at most.
template <int kDoubled, int kRaise>
void put_planes(const float* x, uint8_t* out) {
  put_int8<kDoubled, kRaise>(x, out);
  Int8Group first;
  std::memcpy(&first, out, sizeof(first));
  float rest[kGroup];
  const float scale = first.scale * (1 << kDoubled);
  for (int i = 0; i < kGroup; ++i) rest[i] = x[i] - scale * static_cast<float>(first.values[i]);
  put_int8<kDoubled, kRaise>(rest, out + kInt8GroupBytes);
}

// A product whose operands are such pairs, from one that takes twice as many tokens.
template <TileProduct product>
void multiply_planes(
    TileAt tile, TileAt next, int64_t groups, const uint8_t* panel, int tokens, float* out,
    int64_t stride) {
  float both[kMaxTokens * kTileRows];
  product(tile, next, groups, panel, 2 * tokens, both, kTileRows);
  for (int t = 0; t < tokens; ++t)
    for (int r = 0; r < kTileRows; ++r)
      out[t * stride + r] = both[2 * t * kTileRows + r] + both[(2 * t + 1) * kTileRows + r];
}

constexpr int64_t kPlanesGroupBytes = 2 * kInt8GroupBytes;
constexpr int kMxfp4Raise = 12, kByteRaise = 128;  // of weights
constexpr auto put_int8_for_mxfp4 = put_int8<1, kMxfp4Raise>;
constexpr auto put_int8_for_int8 = put_int8<0, kByteRaise>;
constexpr auto put_planes_for_mxfp4 = put_planes<1, kMxfp4Raise>;
constexpr auto put_planes_for_int8 = put_planes<0, kByteRaise>;

inline float bf16_at(const uint8_t* scales, int64_t i) {
  uint16_t bits;
  std::memcpy(&bits, scales + 2 * i, 2);
  return float_of(uint32_t(bits) << 16);
}

// Column within its group of the code at nibble `nibble` of 32-bit word `word` (0 to 3) of a row.
constexpr int column_of(int word, int nibble) { return word * 8 + nibble / 2 + nibble % 2 * 4; }

}  // namespace
}  // namespace ossia
