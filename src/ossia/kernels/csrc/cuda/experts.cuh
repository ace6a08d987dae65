// What both expert kernels share: who is chosen, and FP4 as operands.
#pragma once
#include "segments.cuh"

constexpr int MAX_TOKENS = 16, MAX_TOP_K = 8, MAX_EXPERTS = 256, MAX_CHOSEN = 128;

// x is stored times 2^64. An FP4 code, moved to a bfloat16's exponent, means its value times 2^-126;
// the product with x is then a normal number, and 2^62 remains to be multiplied at the end.
constexpr float X_SCALE = 18446744073709551616.f, REST_SCALE = 4611686018427387904.f;

struct Experts {
  const uint4* blocks;   // relaid: (experts, tiles, units, 32 lanes)
  const u32* scales;     // relaid: (experts, tiles, units, 8 pairs of rows)
  const u16* bias;       // bfloat16 (experts, rows)
  const float* logits;   // (tokens, experts)
  const int* positions;  // (tokens,), negative where there is no token
  const uint4* x;        // bfloat16 times 2^64: gate_up (tokens, units * 64), down (tokens * top_k, units * 64)
  void* y;               // gate_up: bfloat16 times 2^64 (tokens * top_k, out_stride); down: float (parts, tokens, rows)
  u32 tokens, experts, top_k, tiles, units, rows, out_stride, parts;
  float alpha, limit;
};

struct Routing {
  u32 mask[MAX_EXPERTS / 32];
  u32 chosen;                                     // distinct experts
  u8 list[MAX_CHOSEN];                            // them, by number
  signed char slot_of[MAX_CHOSEN][MAX_TOKENS];    // in which of its slots a token chose it, or -1
  int ids[MAX_TOKENS][MAX_TOP_K];
  float weight[MAX_TOKENS][MAX_TOP_K];

  // Before `choose`, with a barrier between them.
  __device__ __forceinline__ void clear() {
    for (u32 i = threadIdx.x; i < MAX_CHOSEN * MAX_TOKENS / 4; i += blockDim.x) ((u32*)slot_of)[i] = 0xffffffffu;
    if (threadIdx.x < MAX_EXPERTS / 32) mask[threadIdx.x] = 0;
    if (threadIdx.x < MAX_TOKENS * MAX_TOP_K) ((int*)ids)[threadIdx.x] = -1, ((float*)weight)[threadIdx.x] = 0;
  }

  // A warp for a token: its top_k experts, the lower number first among equals, and their weights.
  __device__ __forceinline__ void choose(const Experts& a, u32 token) {
    const u32 lane = threadIdx.x & 31;
    if (a.positions[token] < 0) return;
    u32 keys[MAX_EXPERTS / 32];
#pragma unroll
    for (int j = 0; j < MAX_EXPERTS / 32; j++) {
      keys[j] = 0;
      if (32 * j >= a.experts) continue;
      u32 e = lane + 32 * j;
      keys[j] = e < a.experts ? max(ordered(a.logits[token * a.experts + e]), 1u) : 0;
    }
    float mine = 0, best = 0, sum = 0;
    int my_id = -1;
    for (u32 s = 0; s < a.top_k; s++) {
      u32 key = 0, id = MAX_EXPERTS;
#pragma unroll
      for (int j = 0; j < MAX_EXPERTS / 32; j++)
        if (32 * j < a.experts && keys[j] > key) key = keys[j], id = lane + 32 * j;
      u32 top = __reduce_max_sync(EVERY_LANE, key);
      u32 winner = __reduce_min_sync(EVERY_LANE, key == top ? id : MAX_EXPERTS);
#pragma unroll
      for (int j = 0; j < MAX_EXPERTS / 32; j++)
        if (32 * j < a.experts && winner == lane + 32 * j) keys[j] = 0;
      float logit = unordered(top);
      if (s == 0) best = logit;
      float e = expf(logit - best);
      sum += e;
      if (lane == s) mine = e, my_id = winner;
    }
    if (lane < a.top_k) {
      ids[token][lane] = my_id;
      weight[token][lane] = rounded(mine / sum);
      atomicOr(&mask[my_id >> 5], 1u << (my_id & 31));
    }
  }

  __device__ __forceinline__ u32 rank(u32 e) const {
    u32 before = 0;
    for (u32 i = 0; i < e >> 5; i++) before += __popc(mask[i]);
    return before + __popc(mask[e >> 5] & ((1u << (e & 31)) - 1));
  }

  // After `choose` and a barrier; another one before the tables are read.
  __device__ __forceinline__ void tabulate() {
    for (u32 i = threadIdx.x; i < MAX_EXPERTS + MAX_TOKENS * MAX_TOP_K; i += blockDim.x) {
      if (i < MAX_EXPERTS) {
        if (mask[i >> 5] >> (i & 31) & 1) list[rank(i)] = i;
      } else {
        u32 token = (i - MAX_EXPERTS) / MAX_TOP_K, slot = i % MAX_TOP_K;
        int e = ids[token][slot];
        if (e >= 0) slot_of[rank(e)][token] = slot;
      }
    }
    if (threadIdx.x == blockDim.x - 1) {
      u32 all = 0;
      for (int w = 0; w < MAX_EXPERTS / 32; w++) all += __popc(mask[w]);
      chosen = all;
    }
  }
};

// One unit, 16 rows by 64 k, times 8 tokens, without the 2^62: acc += scale * (fp4 . x).
// `words` holds for each of four instructions the lane's 8 codes, laid out so that signs and magnitudes
// come into their places together (kernels/mxfp4/relaid.py); `xv` the operands of 2 x 32 k.
template <int NT>
__device__ __forceinline__ void fp4_unit(float (&acc)[NT][4], uint4 words, u32 scales, const uint4 (&xv)[NT][2]) {
  const u32 w[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int half = 0; half < 2; half++) {
    u32 A[2][4];
#pragma unroll
    for (int m = 0; m < 2; m++) {
      const u32 v = w[half * 2 + m];
      A[m][0] = v & 0x81C081C0u;
      A[m][1] = v << 3 & 0x81C081C0u;
      A[m][2] = v << 6 & 0x81C081C0u;
      A[m][3] = (v << 1 & 0x80008000u) | (v >> 5 & 0x01000100u) | (v >> 4 & 0x00C000C0u);
    }
    float s0 = __uint_as_float((scales >> (8 * half) & 255) << 23);
    float s1 = __uint_as_float((scales >> (16 + 8 * half) & 255) << 23);
#pragma unroll
    for (int t = 0; t < NT; t++) {
      float c[4] = {0, 0, 0, 0};
      uint4 v = xv[t][half];
      mma(c, A[0][0], A[0][1], A[0][2], A[0][3], v.x, v.y);
      mma(c, A[1][0], A[1][1], A[1][2], A[1][3], v.z, v.w);
      acc[t][0] += c[0] * s0, acc[t][1] += c[1] * s0, acc[t][2] += c[2] * s1, acc[t][3] += c[3] * s1;
    }
  }
}
