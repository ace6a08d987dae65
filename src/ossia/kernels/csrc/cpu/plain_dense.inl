// Products with bfloat16 weights as a plain loop, for sets that have nothing better.
#include "rows.inl"

namespace ossia {
namespace {

// As DenseProduct says, by float32 operands.
void plain_dense(
    const uint16_t* weights, int64_t columns, int64_t rows, const void* const* x, int tokens,
    float* out) {
  for (int64_t r = 0; r < rows; ++r) {
    const uint16_t* row = weights + r * columns;
    for (int t = 0; t < tokens; ++t) {
      const float* values = static_cast<const float*>(x[t]);
      float sums[16] = {};
      int64_t k = 0;
      for (; k + 16 <= columns; k += 16)
        for (int i = 0; i < 16; ++i) sums[i] += float_of(uint32_t(row[k + i]) << 16) * values[k + i];
      float sum = 0.0f;
      for (; k < columns; ++k) sum += float_of(uint32_t(row[k]) << 16) * values[k];
      for (int i = 0; i < 16; ++i) sum += sums[i];
      out[t * rows + r] = sum;
    }
  }
}

}  // namespace
}  // namespace ossia
