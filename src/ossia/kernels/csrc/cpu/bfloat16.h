// bfloat16 as a number, for sources that are compiled for every processor.
#pragma once
#include <cstdint>
#include <cstring>

namespace ossia {

static inline float widened(uint16_t x) {
  const uint32_t bits = uint32_t(x) << 16;
  float out;
  std::memcpy(&out, &bits, 4);
  return out;
}

}  // namespace ossia
