// What the parts of driver.cpp have in common: random numbers, and an end where something is wrong.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "ossia_cpu.h"

namespace {

std::vector<uint8_t> bytes(std::mt19937& random, int64_t count, int low, int high) {
  std::uniform_int_distribution<int> draw(low, high);
  std::vector<uint8_t> out(static_cast<size_t>(count));
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(draw(random));
  return out;
}

// Floats of either type, exactly as large as they have to be.
std::vector<uint8_t> floats(std::mt19937& random, int64_t count, int type) {
  std::normal_distribution<float> draw;
  std::vector<uint8_t> out(static_cast<size_t>(count * (type == OSSIA_BF16 ? 2 : 4)));
  for (int64_t i = 0; i < count; ++i) {
    const float x = draw(random);
    if (type == OSSIA_BF16) std::memcpy(out.data() + 2 * i, reinterpret_cast<const char*>(&x) + 2, 2);
    else std::memcpy(out.data() + 4 * i, &x, 4);
  }
  return out;
}

float at(const std::vector<uint8_t>& floats, int64_t i, int type) {
  float x = 0.0f;
  if (type == OSSIA_BF16) std::memcpy(reinterpret_cast<char*>(&x) + 2, floats.data() + 2 * i, 2);
  else std::memcpy(&x, floats.data() + 4 * i, 4);
  return x;
}

void check(int status, const char* what) {
  if (status == OSSIA_OK) return;
  std::fprintf(stderr, "%s: status %d\n", what, status);
  std::abort();
}

// A matrix of 8 bits with what it needs to be one of a decoder.
struct Rounded {
  std::vector<uint8_t> codes, scales, bias;
  ossia_matrix matrix;

  Rounded(std::mt19937& random, int64_t rows, int64_t columns, int threads)
      : codes(static_cast<size_t>(rows * columns)), scales(static_cast<size_t>(rows * columns / 32 * 2)),
        bias(floats(random, rows, OSSIA_BF16)), matrix{codes.data(), scales.data(), bias.data(), rows} {
    const auto weight = floats(random, rows * columns, OSSIA_BF16);
    check(ossia_quantize(weight.data(), rows, columns, codes.data(), scales.data(), threads), "quantize");
    ossia_read_ahead(weight.data(), rows * columns * 2);
  }
};

}  // namespace
