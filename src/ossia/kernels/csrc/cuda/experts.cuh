// What the expert kernels share: who is chosen, and FP4 as operands.
#pragma once
#include "segments.cuh"

constexpr int MAX_TOKENS = 8, MAX_TOP_K = 8, MAX_EXPERTS = 256, MAX_CHOSEN = 128;

// An FP4 code, moved to a bfloat16's exponent, means its value times 2^-126. Times its scale 2^(s - 127)
// and 2^64 it is a weight times 2^-62, a normal number; x is stored times 2^64, and 2^-2 remains to be
// multiplied at the end. Weights below 2^-62 fade, scales above 190 are refused (kernels/mxfp4/relaid.py).
constexpr float X_SCALE = 18446744073709551616.f, REST_SCALE = 0.25f;

// The lesser, or NaN if x is (which fminf hides).
__device__ __forceinline__ float below(float x, float limit) { return x > limit ? limit : x; }

struct Matrix {
  const u8* blocks;  // relaid: (experts, tiles, units, 32 lanes of 16 bytes)
  const u8* scales;  // relaid: (experts, tiles, units, 8 pairs of rows of 4 bytes)
  const u16* bias;   // bfloat16 (experts, rows)
  u32 tiles, units, rows;
};

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

// A warp for a token: a lane has every 32nd expert, WORDS of them.
template <int WORDS>
__device__ __forceinline__ void load_logits(float (&mine)[WORDS], const float* logits, u32 experts) {
#pragma unroll
  for (int j = 0; j < WORDS; j++) {
    u32 e = (threadIdx.x & 31) + 32 * j;
    if (e < experts) mine[j] = logits[e];
  }
}

// The token's top_k experts, the lower number first among equals, and their weights; lane i gets the i-th.
template <int WORDS>
__device__ __forceinline__ void top_of(const float (&logits)[WORDS], u32 experts, u32 top_k, int& id, float& weight) {
  const u32 lane = threadIdx.x & 31;
  u32 keys[WORDS];
#pragma unroll
  for (int j = 0; j < WORDS; j++) keys[j] = lane + 32 * j < experts ? max(ordered(logits[j]), 1u) : 0;
  u32 mine = 0, best = 0;
  id = -1;
  for (u32 s = 0; s < top_k; s++) {
    u32 key = keys[0], at = lane;
#pragma unroll
    for (int j = 1; j < WORDS; j++)
      if (keys[j] > key) key = keys[j], at = lane + 32 * j;
    const u32 top = __reduce_max_sync(EVERY_LANE, key);
    u32 winner;
    if (WORDS == 1) {
      winner = __ffs(__ballot_sync(EVERY_LANE, key == top)) - 1;
    } else {
      winner = __reduce_min_sync(EVERY_LANE, key == top ? at : MAX_EXPERTS);
    }
#pragma unroll
    for (int j = 0; j < WORDS; j++)
      if (winner == lane + 32 * j) keys[j] = 0;
    if (s == 0) best = top;
    if (lane == s) mine = top, id = winner;
  }
  const float e = lane < top_k ? expf(unordered(mine) - unordered(best)) : 0.f;
  float sum = 0;
  for (u32 s = 0; s < top_k; s++) sum += __shfl_sync(EVERY_LANE, e, s);
  weight = rounded(e / sum);
}

template <int WORDS>
__device__ __forceinline__ void load_top(const float* logits, u32 experts, u32 top_k, int& id, float& weight) {
  float mine[WORDS] = {};
  load_logits(mine, logits, experts);
  top_of(mine, experts, top_k, id, weight);
}

__device__ __forceinline__ void top_experts(const float* logits, u32 experts, u32 top_k, int& id, float& weight) {
  if (experts <= 32) {
    load_top<1>(logits, experts, top_k, id, weight);
  } else if (experts <= 128) {
    load_top<4>(logits, experts, top_k, id, weight);
  } else {
    load_top<MAX_EXPERTS / 32>(logits, experts, top_k, id, weight);
  }
}

// Who is chosen, by a step's `logits`, `positions`, `tokens`, `experts` and `top_k`.
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

  // A warp for a token.
  template <typename Step>
  __device__ __forceinline__ void choose(const Step& a, u32 token) {
    const u32 lane = threadIdx.x & 31;
    if (a.positions[token] < 0) return;
    int my_id;
    float mine;
    top_experts(a.logits + token * a.experts, a.experts, a.top_k, my_id, mine);
    if (lane < a.top_k) {
      ids[token][lane] = my_id;
      weight[token][lane] = mine;
      atomicOr(&mask[my_id >> 5], 1u << (my_id & 31));
    }
  }

  // The only token there is: every warp finds the same and writes it, and need not wait for others.
  template <typename Step>
  __device__ __forceinline__ void choose_alone(const Step& a, bool there) {
    const u32 lane = threadIdx.x & 31;
    int id;
    float mine;
    top_experts(a.logits, a.experts, a.top_k, id, mine);  // does not wait to learn whether it is there
    u32 before = 0;
    for (u32 s = 0; s < a.top_k; s++) before += __shfl_sync(EVERY_LANE, id, s) < id;
    if (there && lane < a.top_k) {
      weight[0][lane] = mine;
      list[before] = id, slot_of[before][0] = lane;
    }
    chosen = there ? a.top_k : 0;
    __syncwarp();
  }

  // Who is chosen, in the whole block.
  template <typename Step>
  __device__ __forceinline__ void find(const Step& a, bool first_is_there) {
    if (a.tokens == 1) return choose_alone(a, first_is_there);
    for (u32 token = threadIdx.x >> 5; token < a.tokens; token += blockDim.x / 32) choose(a, token);
    __syncthreads();
    tabulate();
    __syncthreads();
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

// 8 codes of a lane as the operands of an instruction: they are laid out so that signs and magnitudes come into
// their places together (kernels/mxfp4/relaid.py). Integer instructions are what bounds the products of few
// tokens; no other layout needs fewer shifts and masks, and shifts to the left become multiplications.
__device__ __forceinline__ void fp4_operands(u32 (&A)[4], u32 codes) {
  A[0] = codes & 0x81C081C0u;
  A[1] = codes << 6 & 0x81C081C0u;
  A[2] = __funnelshift_l(codes, codes, 12) & 0x81C081C0u;
  A[3] = (codes << 2 & 0x80C080C0u) | (__funnelshift_l(codes, codes, 10) & 0x01000100u);
}

// One unit, 16 rows by 64 k, times 8 NT tokens: acc += weights . x / REST_SCALE.
// `words` holds for each of four instructions the lane's 8 codes; `operands(t, half)` gives those of 32 k.
// FIRST: scales are multiplied to the weights, not to the sums. For one tile of tokens the latter is as
// much work and leaves no chain of products that wait for each other; the sums round differently.
template <bool FIRST, int NT, typename Operands>
__device__ __forceinline__ void fp4_unit(float (&acc)[NT][4], uint4 words, u32 scales, Operands operands) {
  const u32 w[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const u32 s0 = scales >> (8 * half) & 255, s1 = scales >> (16 + 8 * half) & 255;
    u32 A[2][4];
#pragma unroll
    for (int m = 0; m < 2; m++) {
      fp4_operands(A[m], w[half * 2 + m]);
      if (FIRST) {  // (s + 64) << 7, twice: 2^(s - 63) as a pair of bfloat16
        const u32 above = s0 * 0x800080u + 0x20002000u, below = s1 * 0x800080u + 0x20002000u;
        A[m][0] = times(A[m][0], above), A[m][1] = times(A[m][1], below);
        A[m][2] = times(A[m][2], above), A[m][3] = times(A[m][3], below);
      }
    }
#pragma unroll
    for (int t = 0; t < NT; t++) {
      const uint4 v = operands(t, half);
      float c[4] = {0, 0, 0, 0};
      float(&sum)[4] = FIRST ? acc[t] : c;
      mma(sum, A[0][0], A[0][1], A[0][2], A[0][3], v.x, v.y);
      mma(sum, A[1][0], A[1][1], A[1][2], A[1][3], v.z, v.w);
      if (!FIRST) {
        const float above = __uint_as_float((s0 + 64) << 23), below = __uint_as_float((s1 + 64) << 23);
        acc[t][0] += c[0] * above, acc[t][1] += c[1] * above, acc[t][2] += c[2] * below, acc[t][3] += c[3] * below;
      }
    }
  }
}
