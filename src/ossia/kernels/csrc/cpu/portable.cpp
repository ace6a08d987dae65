// For every processor: plain C++, in the order in which the vector sets add.
#include "layer.inl"
#include "plain_dense.inl"
#include "sampling.inl"

namespace ossia {
namespace {

// A group's codes as `table` has them.
template <typename Table, typename Weight>
void unpack(const uint8_t* tile, const Table& table, Weight (&weights)[kGroup][kTileRows]) {
  for (int word = 0; word < 4; ++word)
    for (int r = 0; r < kTileRows; ++r)
      for (int nibble = 0; nibble < 8; ++nibble) {
        const uint8_t byte = tile[(word * kTileRows + r) * 4 + nibble / 2];
        weights[column_of(word, nibble)][r] = table[nibble % 2 ? byte >> 4 : byte & 15];
      }
}

void mxfp4_f32(
    TileAt tile, TileAt, int64_t groups, const uint8_t* panel, int tokens, float* out, int64_t stride) {
  const auto [codes, scales] = tile;
  for (int t = 0; t < tokens; ++t)
    for (int r = 0; r < kTileRows; ++r) out[t * stride + r] = 0.0f;
  for (int64_t group = 0; group < groups; ++group) {
    float weights[kGroup][kTileRows];
    unpack(codes + group * kCodeBytes, kValues, weights);
    for (int t = 0; t < tokens; ++t) {
      const auto* x = reinterpret_cast<const float*>(panel + (group * tokens + t) * kF32GroupBytes);
      float sums[kTileRows] = {};
      for (int k = 0; k < kGroup; ++k)
        for (int r = 0; r < kTileRows; ++r) sums[r] += weights[k][r] * x[k];
      for (int r = 0; r < kTileRows; ++r)
        out[t * stride + r] += sums[r] * scale_of(scales[group * kTileRows + r]);
    }
  }
}

void mxfp4_int8(
    TileAt tile, TileAt, int64_t groups, const uint8_t* panel, int tokens, float* out, int64_t stride) {
  const auto [codes, scales] = tile;
  for (int t = 0; t < tokens; ++t)
    for (int r = 0; r < kTileRows; ++r) out[t * stride + r] = 0.0f;
  for (int64_t group = 0; group < groups; ++group) {
    int16_t weights[kGroup][kTileRows];
    unpack(codes + group * kCodeBytes, kRaised, weights);
    for (int t = 0; t < tokens; ++t) {
      const auto& x = *reinterpret_cast<const Int8Group*>(panel + (group * tokens + t) * kInt8GroupBytes);
      int32_t sums[kTileRows];
      for (int r = 0; r < kTileRows; ++r) sums[r] = x.correction;
      for (int k = 0; k < kGroup; ++k) {
        const int32_t value = x.values[k];
        for (int r = 0; r < kTileRows; ++r) sums[r] += weights[k][r] * value;
      }
      for (int r = 0; r < kTileRows; ++r) {
        const float scale = scale_of(scales[group * kTileRows + r]) * x.scale;
        out[t * stride + r] += static_cast<float>(sums[r]) * scale;
      }
    }
  }
}

void byte_int8(
    TileAt tile, TileAt, int64_t groups, const uint8_t* panel, int tokens, float* out, int64_t stride) {
  const auto [codes, scales] = tile;
  for (int t = 0; t < tokens; ++t) {
    for (int r = 0; r < kTileRows; ++r) out[t * stride + r] = 0.0f;
    for (int64_t group = 0; group < groups; ++group) {
      const auto& x = *reinterpret_cast<const Int8Group*>(panel + (group * tokens + t) * kInt8GroupBytes);
      for (int r = 0; r < kTileRows; ++r) {
        int32_t sum = x.correction;
        for (int k = 0; k < kGroup; ++k)
          sum += codes[group * kByteCodeBytes + (k / 4 * kTileRows + r) * 4 + k % 4] * x.values[k];
        const float scale = bf16_at(scales + group * kByteScaleBytes, r) * x.scale;
        out[t * stride + r] += static_cast<float>(sum) * scale;
      }
    }
  }
}

const char* obstacle() { return nullptr; }

constexpr Product kF32 = {kVectorTokens, kCodeBytes, kTileRows, kF32GroupBytes, put_f32, mxfp4_f32};

}  // namespace

extern const Isa portable = {
    "portable", obstacle, kF32, kF32,
    {kVectorTokens, kCodeBytes, kTileRows, kInt8GroupBytes, put_int8_for_mxfp4, mxfp4_int8},
    {kVectorTokens, kByteCodeBytes, kByteScaleBytes, kInt8GroupBytes, put_int8_for_int8, byte_int8},
    {kVectorTokens / 2, kByteCodeBytes, kByteScaleBytes, kPlanesGroupBytes, put_planes_for_int8, multiply_planes<byte_int8>},
    plain_dense, false, kLayerF32, kLayerBf16, read, swiglu, widen, narrow, add, sum_rows,
    kSampling,
};

}  // namespace ossia
