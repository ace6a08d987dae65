// Expert matrices times many tokens: each block takes a few tiles of one expert and one item of slots
// (dispatch.cu), so that weights are read once for up to 64 slots.
//
//   up:   inner[slot] = clamped_swiglu(W_e x_token + b_e)
//   down: y[i][token] = weight * (W_e inner[slot] + b_e) for the token's i-th expert
//
// A warp owns a tile of 16 rows; its weights come through shared memory as in gate_up.cu. The slots'
// operands are shared by the block's warps, a unit of 64 k at a time.
#include "experts.cuh"

struct Routed {
  const uint4* blocks;   // relaid: (experts, tiles, units, 32 lanes)
  const u32* scales;     // relaid: (experts, tiles, units, 8 pairs of rows)
  const u16* bias;       // bfloat16 (experts, rows)
  const uint4* x;        // bfloat16 times 2^64: up (tokens, units * 64), down (tokens * top_k, units * 64)
  void* y;               // up: bfloat16 times 2^64 (tokens * top_k, out_stride); down: float (top_k, tokens, rows)
  const int* slots;
  const int4* items;
  const int* num_items;
  const float* weights;  // (tokens * top_k,)
  u32 tokens, top_k, tiles, units, rows, out_stride;
  float alpha, limit;
};

// [stage][operands: half, slot, 4 pieces], then weights [stage][warp][lane], then their scales
template <bool UP, int NT, int WARPS, int STAGES>
__device__ __forceinline__ void product(const Routed& a, int4 item, uint4* ring) {
  constexpr int OPERANDS = NT * 64, PIECES = (OPERANDS + WARPS * 32 - 1) / (WARPS * 32);
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  const u32 tile = blockIdx.x * WARPS + warp, U = a.units;
  const bool works = tile < a.tiles;
  uint4* words = ring + STAGES * OPERANDS;
  u32* scales = (u32*)(words + STAGES * WARPS * 32);
  const u64 once = read_once(), unit = (u64)(item.x * a.tiles + (works ? tile : 0)) * U;
  const uint4* pw = a.blocks + unit * 32 + lane;
  const u32* ps = a.scales + unit * 8 + r;
  const u32 words_to = shared_address(words + warp * 32 + lane), scales_to = shared_address(scales + warp * 32 + lane);
  auto weights = [&](u32 stage) {
    if (works) copy16_once(words_to + stage * (WARPS * 512), pw, once), copy4(scales_to + stage * (WARPS * 128), ps);
    pw += 32, ps += 8;
  };
#pragma unroll 1
  for (u32 s = 0; s < STAGES - 1; s++)
    if (s < U) weights(s);
  const uint4* px[PIECES];
  u32 x_to[PIECES];
  bool there[PIECES];
#pragma unroll
  for (int j = 0; j < PIECES; j++) {
    u32 i = threadIdx.x + j * (WARPS * 32), column = i / 8, piece = i % 8;
    there[j] = i < OPERANDS && column < item.z;
    u32 slot = a.slots[item.y + (there[j] ? column : 0)];
    px[j] = a.x + (u64)(UP ? slot / a.top_k : slot) * (U * 8) + piece;
    x_to[j] = shared_address(ring + (piece / 4 * NT * 8 + column) * 4 + piece % 4);
  }
  auto operands = [&](u32 stage) {
#pragma unroll
    for (int j = 0; j < PIECES; j++) {
      if (there[j]) copy16(x_to[j] + stage * (OPERANDS * 16), px[j]);
      px[j] += 8;
    }
  };
  if (!UP) dep_wait(), dep_go();  // `up` has waited already, for its items
#pragma unroll 1
  for (u32 s = 0; s < STAGES - 1; s++) {
    if (s < U) operands(s);
    copies_end();
  }
  float acc[NT][4] = {};
  u32 stage = 0, next = STAGES - 1;
#pragma unroll 1
  for (u32 u = 0; u < U; u++) {
    copies_wait<STAGES - 2>();
    __syncthreads();  // all have the unit, and are done with the one before
    if (u + STAGES - 1 < U) weights(next), operands(next);
    copies_end();
    if (works) {
      const uint4* x = ring + stage * OPERANDS + r * 4 + q;
      uint4 word = words[(stage * WARPS + warp) * 32 + lane];
      u32 scale = scales[(stage * WARPS + warp) * 32 + lane];
      fp4_unit<true, NT>(acc, word, scale, [&](int t, int half) { return x[(half * NT + t) * 32]; });
    }
    if (++stage == STAGES) stage = 0;
    if (++next == STAGES) next = 0;
  }
  if (!works) return;
  const u16* bias = a.bias + (u64)item.x * a.rows;
#pragma unroll
  for (int t = 0; t < NT; t++) {
#pragma unroll
    for (int c = 0; c < 2; c++) {
      u32 column = t * 8 + 2 * q + c;
      if (column >= item.z) continue;
      u32 slot = a.slots[item.y + column];
      if (UP) {
        u32 row = tile * 8 + r;
        float gate = rounded(acc[t][c] * REST_SCALE + wide(bias[2 * row]));
        float up = rounded(acc[t][c + 2] * REST_SCALE + wide(bias[2 * row + 1]));
        gate = below(gate, a.limit), up = -below(-below(up, a.limit), a.limit);
        float out = rounded(gate / (1.f + expf(-a.alpha * gate)) * (up + 1.f)) * X_SCALE;
        ((u16*)a.y)[(u64)slot * a.out_stride + row] = (u16)pack(out, 0.f);
      } else {
        u32 token = slot / a.top_k, row = tile * 16 + r;
        float weight = a.weights[slot];
        float* y = (float*)a.y + ((u64)(slot - token * a.top_k) * a.tokens + token) * a.rows;
        if (row < a.rows) y[row] = weight * (acc[t][c] * REST_SCALE + wide(bias[row]));
        if (row + 8 < a.rows) y[row + 8] = weight * (acc[t][c + 2] * REST_SCALE + wide(bias[row + 8]));
      }
    }
  }
}

template <bool UP, int WIDTH, int WARPS, int STAGES>
__device__ __forceinline__ void routed(const Routed& a) {
  extern __shared__ uint4 ring[];
  // `down` begins before `up` has ended: what it reads of `dispatch` was there when `up` began to work.
  if (UP) dep_wait(), dep_go();
  if (blockIdx.y >= *a.num_items) {
    if (!UP) dep_wait();
    return;
  }
  const int4 item = a.items[blockIdx.y];
  if (WIDTH == 8 || item.z <= 8) return product<UP, 1, WARPS, STAGES>(a, item, ring);
  if (WIDTH == 16 || item.z <= 16) return product<UP, 2, WARPS, STAGES>(a, item, ring);
  if (item.z <= 24) return product<UP, 3, WARPS, STAGES>(a, item, ring);
  if (WIDTH == 32 || item.z <= 32) return product<UP, 4, WARPS, STAGES>(a, item, ring);
  if (item.z <= 48) return product<UP, 6, WARPS, STAGES>(a, item, ring);
  product<UP, 8, WARPS, STAGES>(a, item, ring);
}

extern "C" __global__ void __launch_bounds__(128, 6) routed_up_16(const __grid_constant__ Routed a) { routed<true, 16, 4, 8>(a); }
extern "C" __global__ void __launch_bounds__(256, 3) routed_up_32(const __grid_constant__ Routed a) { routed<true, 32, 8, 6>(a); }
extern "C" __global__ void __launch_bounds__(256, 2) routed_up_64(const __grid_constant__ Routed a) { routed<true, 64, 8, 6>(a); }
extern "C" __global__ void __launch_bounds__(128, 6) routed_down_16(const __grid_constant__ Routed a) { routed<false, 16, 4, 8>(a); }
extern "C" __global__ void __launch_bounds__(256, 3) routed_down_32(const __grid_constant__ Routed a) { routed<false, 32, 8, 6>(a); }
extern "C" __global__ void __launch_bounds__(256, 2) routed_down_64(const __grid_constant__ Routed a) { routed<false, 64, 8, 6>(a); }
