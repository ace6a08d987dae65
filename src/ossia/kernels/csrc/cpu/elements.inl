// Floats of either type one by one, and registers of float32.
#pragma once
#include <cstdint>

#include "rows.inl"

namespace ossia {
namespace {

inline float get(const float* x, int64_t i) { return x[i]; }
inline float get(const uint16_t* x, int64_t i) { return float_of(uint32_t(x[i]) << 16); }
inline void put(float* x, int64_t i, float value) { x[i] = value; }
inline void put(uint16_t* x, int64_t i, float value) { x[i] = narrowed(value); }

// A register of the set.
#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
using Lanes __attribute__((vector_size(kLanes * 4))) = float;

}  // namespace
}  // namespace ossia
