// A matrix of very many rows, the unembedding, times 3 to 32 tokens; Hopper only.
//
//   y[token][row] = sum over k of w[row][k] x[token][k], float32
//
// A block goes through its rows, 8 at a time, which a warp of its own copies ahead. Each of the other warps has
// a share of k, and what it needs of the first 16 tokens stays in its registers; that of the other 16 lies in
// shared memory. Tokens are A of the instruction here, rows are B, so that a tile of rows is small enough for
// the next one to be on its way. A tile's shares are added up in their order.
#include "bulk.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr u32 WARPS = 15, TILE = 8, MOST = 6;  // MOST: steps of a warp

struct Stream {
  const u8* w;      // bfloat16 (rows, k)
  const uint4* x;   // bfloat16 (tokens, k)
  float* y;         // (tokens, rows)
  u32 rows, steps;  // steps: of 32 k
  u32 tokens, stride;  // stride: bytes from row to row in shared memory
};

// GROUPS: of 16 tokens. SLOTS: tiles in shared memory.
template <int GROUPS, int SLOTS>
__device__ __forceinline__ void stream_rows(const Stream& a) {
  constexpr u32 TOKENS = GROUPS * 16, SUMS = WARPS * TOKENS * TILE;
  extern __shared__ __align__(128) u8 ring[];  // [slot][row]; then [step][16 tokens][4] of later groups; then sums, twice
  __shared__ u64 full[SLOTS], empty[SLOTS];
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  const u32 tiles = (a.rows + TILE - 1) / TILE;
  const u32 first = share(tiles, blockIdx.x, gridDim.x), n = share(tiles, blockIdx.x + 1, gridDim.x) - first;
  const u32 base = shared_address(ring), slot_bytes = TILE * a.stride;
  uint4* xs = (uint4*)(ring + SLOTS * slot_bytes);
  float* sums = (float*)(xs + (GROUPS - 1) * a.steps * 64);
  if (threadIdx.x == 0) {
    for (u32 s = 0; s < SLOTS; s++) barrier_init(shared_address(full + s), 1), barrier_init(shared_address(empty + s), WARPS);
    barriers_ready();
  }
  __syncthreads();
  dep_go();
  if (warp == WARPS) {
    if (lane > 0) return;
    const u64 once = read_once();
    for (u32 i = 0; i < n; i++) {
      const u32 slot = i % SLOTS, begin = (first + i) * TILE, rows = min(TILE, a.rows - begin);
      if (i >= SLOTS) barrier_wait(shared_address(empty + slot), (i / SLOTS - 1) & 1);
      barrier_expect(shared_address(full + slot), rows * a.steps * 64);
      for (u32 row = 0; row < rows; row++)
        bulk_copy(base + slot * slot_bytes + row * a.stride, a.w + (u64)(begin + row) * a.steps * 64, a.steps * 64,
                  shared_address(full + slot), once);
    }
    return;
  }
  const u32 s0 = share(a.steps, warp, WARPS), steps = share(a.steps, warp + 1, WARPS) - s0;
  auto operand = [&](u32 token, u32 step) { return token < a.tokens ? a.x[(token * a.steps + step) * 4 + q] : zero4(); };
  dep_wait();
  uint4 x[2][MOST];  // of tokens r and r + 8
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int s = 0; s < MOST; s++) x[h][s] = s < steps ? operand(h * 8 + r, s0 + s) : zero4();
#pragma unroll
  for (int g = 1; g < GROUPS; g++)  // a lane reads only what it has written itself
    for (u32 s = 0; s < steps; s++)
#pragma unroll
      for (int h = 0; h < 2; h++)
        xs[(((g - 1) * a.steps + s0 + s) * 16 + h * 8 + r) * 4 + q] = operand(g * 16 + h * 8 + r, s0 + s);
  for (u32 i = 0; i < n; i++) {
    const u32 slot = i % SLOTS, from = base + slot * slot_bytes + r * a.stride + (s0 * 4 + q) * 16;
    barrier_wait(shared_address(full + slot), i / SLOTS & 1);
    float acc[GROUPS][4] = {};
#pragma unroll
    for (int s = 0; s < MOST; s++) {
      if (s >= steps) break;
      const uint4 w = shared4(from + s * 64);
      mma(acc[0], x[0][s].x, x[1][s].x, x[0][s].y, x[1][s].y, w.x, w.y);
      mma(acc[0], x[0][s].z, x[1][s].z, x[0][s].w, x[1][s].w, w.z, w.w);
#pragma unroll
      for (int g = 1; g < GROUPS; g++) {
        const uint4* at = xs + (((g - 1) * a.steps + s0 + s) * 16 + r) * 4 + q;
        const uint4 lo = at[0], hi = at[32];
        mma(acc[g], lo.x, hi.x, lo.y, hi.y, w.x, w.y);
        mma(acc[g], lo.z, hi.z, lo.w, hi.w, w.z, w.w);
      }
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(shared_address(empty + slot));
    float* mine = sums + i % 2 * SUMS;
#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
      float* at = mine + (warp * TOKENS + g * 16 + r) * TILE + 2 * q;
      *(float2*)at = make_float2(acc[g][0], acc[g][1]), *(float2*)(at + 8 * TILE) = make_float2(acc[g][2], acc[g][3]);
    }
    meet<WARPS * 32>();  // and whoever is past it has read the sums of the tile before
    for (u32 j = threadIdx.x; j < a.tokens * TILE; j += WARPS * 32) {
      float sum = mine[j];
#pragma unroll
      for (u32 v = 1; v < WARPS; v++) sum += mine[v * TOKENS * TILE + j];
      const u32 row = (first + i) * TILE + j % TILE;
      if (row < a.rows) a.y[(u64)(j / TILE) * a.rows + row] = sum;
    }
  }
}

extern "C" __global__ void __launch_bounds__(512, 1) stream_16(const __grid_constant__ Stream a) { stream_rows<1, 4>(a); }
extern "C" __global__ void __launch_bounds__(512, 1) stream_32(const __grid_constant__ Stream a) { stream_rows<2, 2>(a); }

#endif
