// What stands between the products: the residual, the norm, and either nothing or the router.
// A thread takes 8 neighbouring columns; blocks of one token all do the same sums, and the first of
// them writes what they have in common.
#include "common.cuh"

constexpr u32 TOGETHER = 4;  // parts

struct Norm {
  const u16* before;     // bfloat16 (tokens, hidden): the residual stream, or rows of the embedding
  const int* ids;        // (tokens,) rows to take; null: row t for token t
  const float* parts;    // (num_parts, tokens, hidden), what is added to it
  const u16* bias;       // bfloat16 (hidden,), added to the parts; null for none
  const u16* weight;     // bfloat16 (hidden,)
  u16* after;            // bfloat16 (tokens, hidden): the sum; another tensor than `before`
  u16* normed;           // bfloat16 (tokens, stride), times `scale`; with `places` in wide.cu's order of k
  const u16* router;     // bfloat16 (experts, hidden); null without a router
  const u16* router_bias;
  float* logits;         // (tokens, experts)
  const int* positions;  // (tokens,)
  const float* frequencies;  // (32,) radians a position; null: no table of rope is made
  float* rope;           // (tokens, 2, 32)
  u32 tokens, hidden, num_parts, stride, experts, places, dry;  // dry: 1, which the compiler must not know
  float eps, scale, concentration;
};

__device__ __forceinline__ float block_sum(float x, float* shared) {
  for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(EVERY_LANE, x, o);
  if ((threadIdx.x & 31) == 0) shared[threadIdx.x >> 5] = x;
  __syncthreads();
  float sum = 0;
  for (u32 w = 0; w < blockDim.x / 32; w++) sum += shared[w];
  return sum;
}

template <int ROUTED>  // experts a block; 0 without a router
__device__ __forceinline__ void norm(const Norm& a) {
  __shared__ float squares[32], dots[32][ROUTED ? ROUTED : 1];
  const u32 token = blockIdx.y, at = threadIdx.x * 8;
  const bool inside = at < a.hidden;
  uint4 rows[ROUTED ? ROUTED : 1], weight = zero4(), bias = zero4();
  if (inside) {  // parameters need not wait
    weight = *(const uint4*)(a.weight + at);
    if (a.bias) bias = *(const uint4*)(a.bias + at);
    if (ROUTED) {
#pragma unroll
      for (int e = 0; e < ROUTED; e++) {
        u32 row = min(blockIdx.x * ROUTED + e, a.experts - 1);
        rows[e] = *(const uint4*)(a.router + (u64)row * a.hidden + at);
      }
    }
  }
  dep_go();
  u32 dry = a.dry;
#pragma unroll 1
  do {
    if (!dry) dep_wait();
    float x[8] = {}, sum = 0;
    if (inside) {
      const uint4 old = fresh((const uint4*)(a.before + (u64)(a.ids ? a.ids[token] : token) * a.hidden + at));
      for (u32 first = 0; first < a.num_parts; first += TOGETHER) {
        float4 part[TOGETHER][2];  // on their way together
#pragma unroll
        for (u32 i = 0; i < TOGETHER; i++) {
          if (first + i >= a.num_parts) continue;
          const float4* from = (const float4*)(a.parts + (u64)((first + i) * a.tokens + token) * a.hidden + at);
          part[i][0] = fresh(from), part[i][1] = fresh(from + 1);
        }
#pragma unroll
        for (u32 i = 0; i < TOGETHER; i++) {
          if (first + i >= a.num_parts) continue;
          const float4 u = part[i][0], v = part[i][1];
          x[0] += u.x, x[1] += u.y, x[2] += u.z, x[3] += u.w, x[4] += v.x, x[5] += v.y, x[6] += v.z, x[7] += v.w;
        }
      }
      const u32 o[4] = {old.x, old.y, old.z, old.w}, b[4] = {bias.x, bias.y, bias.z, bias.w};
#pragma unroll
      for (int i = 0; i < 4; i++) {  // rounded where torch rounds: the projection, then the sum
        x[2 * i] = rounded(low(o[i]) + rounded(x[2 * i] + low(b[i])));
        x[2 * i + 1] = rounded(high(o[i]) + rounded(x[2 * i + 1] + high(b[i])));
        sum += x[2 * i] * x[2 * i] + x[2 * i + 1] * x[2 * i + 1];
      }
    }
    float inverse = rsqrtf(block_sum(sum, squares) / a.hidden + a.eps);
    uint4 kept, out;
    u32 *k = (u32*)&kept, *y = (u32*)&out;
    const u32 w[4] = {weight.x, weight.y, weight.z, weight.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      k[i] = pack(x[2 * i], x[2 * i + 1]);
      x[2 * i] = rounded(x[2 * i] * inverse * low(w[i])), x[2 * i + 1] = rounded(x[2 * i + 1] * inverse * high(w[i]));
      y[i] = pack(x[2 * i] * a.scale, x[2 * i + 1] * a.scale);
    }
    if (blockIdx.x == 0 && !dry) {
      if (inside) {
        *(uint4*)(a.after + (u64)token * a.hidden + at) = kept;
        u16* normed = a.normed + (u64)token * a.stride + at;
        if (!a.places) {
          *(uint4*)normed = out;
        } else {  // columns 8 q + 2 i and the next of each 32, for i = 2 m + h, go to 8 i + 2 q
          const u32 q = threadIdx.x % 4;
          u32* pairs = (u32*)(normed - 8 * q) + q;
          pairs[0] = out.x, pairs[4] = out.y, pairs[8] = out.z, pairs[12] = out.w;
        }
      }
      if (a.frequencies && threadIdx.x < 32) {
        float angle = (float)a.positions[token] * a.frequencies[threadIdx.x];
        a.rope[token * 64 + threadIdx.x] = cosf(angle) * a.concentration;
        a.rope[token * 64 + 32 + threadIdx.x] = sinf(angle) * a.concentration;
      }
    }
    if (ROUTED) {
      float dot[ROUTED ? ROUTED : 1];
#pragma unroll
      for (int e = 0; e < ROUTED; e++) {
        dot[e] = 0;
        if (inside) {
          const u32 v[4] = {rows[e].x, rows[e].y, rows[e].z, rows[e].w};
#pragma unroll
          for (int i = 0; i < 4; i++) dot[e] += x[2 * i] * low(v[i]) + x[2 * i + 1] * high(v[i]);
        }
        for (int o = 16; o; o >>= 1) dot[e] += __shfl_xor_sync(EVERY_LANE, dot[e], o);
        if ((threadIdx.x & 31) == 0) dots[threadIdx.x >> 5][e] = dot[e];
      }
      __syncthreads();
      u32 e = blockIdx.x * ROUTED + threadIdx.x;
      if ((int)threadIdx.x < ROUTED && e < a.experts && !dry) {
        float logit = a.router_bias ? wide(a.router_bias[e]) : 0.f;
        for (u32 v = 0; v < blockDim.x / 32; v++) logit += dots[v][threadIdx.x];
        a.logits[token * a.experts + e] = rounded(logit);
      }
    }
    __syncthreads();
  } while (dry--);
}

// By how many threads a block may have: with 1,024 there are too few registers for the router's rows. With
// two experts a block there is room for it beside slab.cu, so that it is there early; with eight, many tokens
// are soon done.
extern "C" __global__ void __maxnreg__(72) norm_plain_512(const __grid_constant__ Norm a) { norm<0>(a); }
extern "C" __global__ void __launch_bounds__(1024) norm_plain_1024(const __grid_constant__ Norm a) { norm<0>(a); }
extern "C" __global__ void __maxnreg__(72) norm_route_2_512(const __grid_constant__ Norm a) { norm<2>(a); }
extern "C" __global__ void __launch_bounds__(1024) norm_route_2_1024(const __grid_constant__ Norm a) { norm<2>(a); }
extern "C" __global__ void __launch_bounds__(512) norm_route_8_512(const __grid_constant__ Norm a) { norm<8>(a); }
extern "C" __global__ void __launch_bounds__(1024) norm_route_8_1024(const __grid_constant__ Norm a) { norm<8>(a); }
