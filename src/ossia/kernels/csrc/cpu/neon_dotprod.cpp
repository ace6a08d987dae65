// Arm's NEON with dot products (FEAT_DotProd): from Neoverse N1, Cortex-A76 and Apple M1 on. These multiply
// signed by signed bytes, so weights need not be raised.
#include <arm_neon.h>
#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__linux__)
#include <sys/auxv.h>
#endif

#include "layer.inl"
#include "plain_dense.inl"
#include "sampling.inl"

namespace ossia {
namespace {

constexpr int kQuarters = 4;  // vectors of 4 rows in a tile
constexpr int kTokens = 4;    // whose sums of a quarter fit the registers, beside the weights

alignas(16) constexpr int8_t kDoubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
constexpr auto put_for_mxfp4 = put_int8<1, 0>;
constexpr auto put_for_int8 = put_int8<0, 0>;
constexpr auto put_planes_doubled = put_planes<1, 0>;
constexpr auto put_planes_plain = put_planes<0, 0>;

// 4 rows of a group: 8 vectors of four columns each, and scales.
struct Mxfp4Quarter {
  static constexpr int64_t kBytes = kCodeBytes, kScaleBytes = kTileRows;
  static void load(const uint8_t* codes, int quarter, int8x16_t (&weights)[8]) {
    const int8x16_t table = vld1q_s8(kDoubled);
    for (int word = 0; word < 4; ++word) {
      const uint8x16_t both = vld1q_u8(codes + word * 64 + quarter * 16);
      weights[2 * word] = vqtbl1q_s8(table, vandq_u8(both, vdupq_n_u8(15)));
      weights[2 * word + 1] = vqtbl1q_s8(table, vshrq_n_u8(both, 4));
    }
  }
  static float32x4_t scales(const uint8_t* scales, int quarter) {
    float values[4];
    for (int r = 0; r < 4; ++r) values[r] = scale_of(scales[quarter * 4 + r]);
    return vld1q_f32(values);
  }
};

struct ByteQuarter {
  static constexpr int64_t kBytes = kByteCodeBytes, kScaleBytes = kByteScaleBytes;
  static void load(const uint8_t* codes, int quarter, int8x16_t (&weights)[8]) {
    for (int i = 0; i < 8; ++i)
      weights[i] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(codes + i * 64 + quarter * 16), vdupq_n_u8(kByteRaise)));
  }
  static float32x4_t scales(const uint8_t* scales, int quarter) {
    const uint16x4_t narrow = vreinterpret_u16_u8(vld1_u8(scales + quarter * 8));
    return vreinterpretq_f32_u32(vshll_n_u16(narrow, 16));
  }
};

template <int kLane>
inline int32x4_t dot(int32x4_t sum, int8x16_t weights, int8x16_t x) {
  return vdotq_laneq_s32(sum, weights, x, kLane);
}

// Two sums take turns: one would wait for itself.
inline int32x4_t dot_group(const int8x16_t (&weights)[8], const int8_t* values) {
  const int8x16_t low = vld1q_s8(values), high = vld1q_s8(values + 16);
  int32x4_t even = vdupq_n_s32(0), odd = vdupq_n_s32(0);
  even = dot<0>(even, weights[0], low), odd = dot<1>(odd, weights[1], low);
  even = dot<2>(even, weights[2], low), odd = dot<3>(odd, weights[3], low);
  even = dot<0>(even, weights[4], high), odd = dot<1>(odd, weights[5], high);
  even = dot<2>(even, weights[6], high), odd = dot<3>(odd, weights[7], high);
  return vaddq_s32(even, odd);
}

template <typename Quarter, int T>
void tile_tokens(
    const uint8_t* codes, const uint8_t* scales, int64_t groups, const uint8_t* panel, int64_t step,
    float* out, int64_t stride) {
  float32x4_t total[T][kQuarters];
  for (int t = 0; t < T; ++t)
    for (int quarter = 0; quarter < kQuarters; ++quarter) total[t][quarter] = vdupq_n_f32(0.0f);
  for (int64_t group = 0; group < groups; ++group)
    for (int quarter = 0; quarter < kQuarters; ++quarter) {
      int8x16_t weights[8];
      Quarter::load(codes + group * Quarter::kBytes, quarter, weights);
      const float32x4_t scale = Quarter::scales(scales + group * Quarter::kScaleBytes, quarter);
      for (int t = 0; t < T; ++t) {
        const auto& x = *reinterpret_cast<const Int8Group*>(panel + group * step + t * kInt8GroupBytes);
        const float32x4_t sum = vcvtq_f32_s32(dot_group(weights, x.values));
        total[t][quarter] = vfmaq_f32(total[t][quarter], sum, vmulq_n_f32(scale, x.scale));
      }
    }
  for (int t = 0; t < T; ++t)
    for (int quarter = 0; quarter < kQuarters; ++quarter)
      vst1q_f32(out + t * stride + quarter * 4, total[t][quarter]);
}

template <typename Quarter>
void product(
    TileAt tile, TileAt, int64_t groups, const uint8_t* panel, int tokens, float* out, int64_t stride) {
  const auto [codes, scales] = tile;
  const int64_t step = tokens * kInt8GroupBytes;
  int t = 0;
  for (; t + kTokens <= tokens; t += kTokens)
    tile_tokens<Quarter, kTokens>(
        codes, scales, groups, panel + t * kInt8GroupBytes, step, out + t * stride, stride);
  for (; t < tokens; ++t)
    tile_tokens<Quarter, 1>(codes, scales, groups, panel + t * kInt8GroupBytes, step, out + t * stride, stride);
}

// Operands stay float32: weights are looked up as bytes and widened.
void mxfp4_f32(
    TileAt tile, TileAt, int64_t groups, const uint8_t* panel, int tokens, float* out, int64_t stride) {
  const auto [codes, scales] = tile;
  for (int t = 0; t < tokens; ++t)
    for (int r = 0; r < kTileRows; ++r) out[t * stride + r] = 0.0f;
  for (int64_t group = 0; group < groups; ++group)
    for (int quarter = 0; quarter < kQuarters; ++quarter) {
      int8x16_t packed[8];
      Mxfp4Quarter::load(codes + group * kCodeBytes, quarter, packed);
      const float32x4_t scale =
          vmulq_n_f32(Mxfp4Quarter::scales(scales + group * kTileRows, quarter), 0.5f);  // of doubled weights
      int8_t weights[8][16];
      for (int i = 0; i < 8; ++i) vst1q_s8(weights[i], packed[i]);
      for (int t = 0; t < tokens; ++t) {
        const auto* x = reinterpret_cast<const float*>(panel + (group * tokens + t) * kF32GroupBytes);
        float sums[4] = {};
        for (int k = 0; k < kGroup; ++k)
          for (int r = 0; r < 4; ++r) sums[r] += static_cast<float>(weights[k / 4][r * 4 + k % 4]) * x[k];
        float* to = out + t * stride + quarter * 4;
        vst1q_f32(to, vfmaq_f32(vld1q_f32(to), vld1q_f32(sums), scale));
      }
    }
}

bool has_dot_products() {
#if defined(__APPLE__)
  int has = 0;
  size_t size = sizeof(has);
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has != 0;
#elif defined(__linux__)
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDotProducts) != 0;
#else
  return false;
#endif
}

const char* obstacle() {
  return has_dot_products() ? nullptr : "the processor lacks NEON's dot products";
}

constexpr Product kF32 = {kVectorTokens, kCodeBytes, kTileRows, kF32GroupBytes, put_f32, mxfp4_f32};

}  // namespace

extern const Isa neon_dotprod = {
    "neon_dotprod", obstacle, kF32,
    {kVectorTokens / 2, kCodeBytes, kTileRows, kPlanesGroupBytes, put_planes_doubled, multiply_planes<product<Mxfp4Quarter>>},
    {kVectorTokens, kCodeBytes, kTileRows, kInt8GroupBytes, put_for_mxfp4, product<Mxfp4Quarter>},
    {kVectorTokens, kByteCodeBytes, kByteScaleBytes, kInt8GroupBytes, put_for_int8, product<ByteQuarter>},
    {kVectorTokens / 2, kByteCodeBytes, kByteScaleBytes, kPlanesGroupBytes, put_planes_plain, multiply_planes<product<ByteQuarter>>},
    plain_dense, false, kLayerF32, kLayerBf16, read, swiglu, widen, narrow, add, sum_rows,
    kSampling,
};

}  // namespace ossia
