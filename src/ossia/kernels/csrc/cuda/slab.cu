// What dense.cu does, for up to 32 tokens on Hopper: a block's rows lie in its shared memory before the
// tokens are there.
//
//   y[token][row] = sum over k of w[row][k] x[token][k], float32
//
// A multiprocessor takes one block, and has room for most of its rows. While the kernels in front still
// run, the last warp copies them, group after group, and never asks for more than a few groups at once:
// what other kernels load must not queue behind them. Each of the other warps takes a share of k, whose
// operands it keeps in registers, of all rows; the shares are added up in their order. Of more than 16 tokens
// every block would read more operands than weights: there two blocks have the same rows, each with half of
// k, and two warps a share of that, each for half of the tokens.
#include "bulk.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr u32 GROUP_ROWS = 2;
constexpr u32 COLUMN = 20;  // floats from a token's sums to the next one's, so that lanes meet no bank twice

struct Slab {
  const u8* w[3];   // bfloat16 (rows, k)
  const uint4* x;   // bfloat16 (tokens, k)
  float* y;         // (splits, tokens, rows)
  u32 row_end[3];   // rows before the end of each matrix
  u32 rows, steps;  // steps: of 32 k
  u32 tokens, stride, held, flight;  // stride: bytes; held: rows that there is room for; flight: groups on their way at once
};

// A lane's operands of 8 NT tokens: of each step of 32 k of the warp's share, 8 k.
// MOST: steps of a warp. HALVES: warps of a share of k. TILES: of 16 rows. SPLITS: blocks of the same rows.
template <int NT, int MOST, int WARPS, int HALVES, int TILES, int SPLITS>
__device__ __forceinline__ void slab(const Slab& a) {
  constexpr int SUMS = NT == 1 ? 2 : 1;  // of a lane's k, so that fewer products wait for each other
  constexpr u32 SHARES = WARPS / HALVES, TOKENS = HALVES * NT * 8, GROUPS = TILES * 16 / GROUP_ROWS;
  extern __shared__ __align__(128) u8 rows[];  // afterwards [share][tile][token][COLUMN] of float
  __shared__ u64 there[GROUPS], read[TILES];
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  const u32 block = blockIdx.x / SPLITS, blocks = gridDim.x / SPLITS, split = blockIdx.x % SPLITS;
  const u32 first = share(a.rows, block, blocks), n = share(a.rows, block + 1, blocks) - first;
  const u32 k0 = share(a.steps, split, SPLITS), here = share(a.steps, split + 1, SPLITS) - k0;  // steps of the block
  const u32 groups = (n + GROUP_ROWS - 1) / GROUP_ROWS;
  const u32 base = shared_address(rows), barriers = shared_address(there), reads = shared_address(read);
  if (threadIdx.x == 0) {
    for (u32 g = 0; g < GROUPS; g++) barrier_init(barriers + g * 8, 1);
    for (u32 t = 0; t < TILES; t++) barrier_init(reads + t * 8, WARPS);
    barriers_ready();
  }
  __syncthreads();
  dep_go();
  const u32 own = warp / HALVES, from = warp % HALVES * NT * 8;  // the warp's share of k, its first token
  const u32 s0 = share(here, own, SHARES), steps = warp < WARPS ? share(here, own + 1, SHARES) - s0 : 0;
  uint4 x[NT][MOST];
  auto place = [&](u32 row) { return (row < a.held ? row : row - a.held) * a.stride; };
  if (warp == WARPS) {
    if (lane > 0) return;
    const u64 once = read_once();
    for (u32 g = 0; g < groups; g++) {
      if (g >= a.flight) barrier_wait(barriers + (g - a.flight) * 8, 0);
      const u32 begin = g * GROUP_ROWS, end = min(n, begin + GROUP_ROWS);
      if (begin >= a.held) barrier_wait(reads + (begin - a.held) / 16 * 8, 0);  // rows that lay there
      barrier_expect(barriers + g * 8, (end - begin) * here * 64);
      for (u32 i = begin; i < end; i++) {
        const u32 row = first + i, m = row < a.row_end[0] ? 0 : row < a.row_end[1] ? 1 : 2;
        const u32 before = m == 0 ? 0 : a.row_end[m - 1];
        bulk_copy(base + place(i), a.w[m] + ((u64)(row - before) * a.steps + k0) * 64, here * 64, barriers + g * 8, once);
      }
    }
    return;
  }
  dep_wait();
#pragma unroll
  for (int t = 0; t < NT; t++)
#pragma unroll
    for (int s = 0; s < MOST; s++) {
      const u32 token = from + t * 8 + r;
      x[t][s] = s < steps && token < a.tokens ? a.x[(token * a.steps + k0 + s0 + s) * 4 + q] : zero4();
    }
  float acc[TILES][NT][SUMS][4] = {};
#pragma unroll
  for (u32 tile = 0; tile < TILES; tile++) {
    if (tile * 16 >= n) break;
    for (u32 g = tile * 16 / GROUP_ROWS; g < min(groups, (tile + 1) * 16 / GROUP_ROWS); g++) barrier_wait(barriers + g * 8, 0);
    // Rows beyond the last repeat it; nobody looks at their sums.
    const u32 upper = base + place(min(tile * 16 + r, n - 1)) + (s0 * 4 + q) * 16;
    const u32 lower = base + place(min(tile * 16 + r + 8, n - 1)) + (s0 * 4 + q) * 16;
#pragma unroll
    for (int s = 0; s < MOST; s++) {
      if (s >= steps) break;
      const uint4 hi = shared4(upper + s * 64), lo = shared4(lower + s * 64);
#pragma unroll
      for (int t = 0; t < NT; t++) {
        mma(acc[tile][t][0], hi.x, lo.x, hi.y, lo.y, x[t][s].x, x[t][s].y);
        mma(acc[tile][t][SUMS - 1], hi.z, lo.z, hi.w, lo.w, x[t][s].z, x[t][s].w);
      }
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(reads + tile * 8);
  }
  meet<WARPS * 32>();  // all rows are read
  float* sums = (float*)rows;
#pragma unroll
  for (u32 tile = 0; tile < TILES; tile++) {
#pragma unroll
    for (int t = 0; t < NT; t++) {
      float* at = sums + ((own * TILES + tile) * TOKENS + from + t * 8 + 2 * q) * COLUMN + r;
#pragma unroll
      for (int c = 0; c < 4; c++) at[c % 2 * COLUMN + c / 2 * 8] = SUMS == 1 ? acc[tile][t][0][c] : acc[tile][t][0][c] + acc[tile][t][1][c];
    }
  }
  meet<WARPS * 32>();
  for (u32 i = threadIdx.x; i < n * a.tokens; i += WARPS * 32) {
    const u32 token = i / n, row = i - token * n;
    const float* at = sums + (row / 16 * TOKENS + token) * COLUMN + row % 16;
    float sum = at[0];
#pragma unroll
    for (u32 j = 1; j < SHARES; j++) sum += at[j * TILES * TOKENS * COLUMN];
    a.y[(u64)(split * a.tokens + token) * a.rows + first + row] = sum;
  }
}

// With 72 registers a thread a block of attention.cu or norm.cu runs beside this one.
extern "C" __global__ void __maxnreg__(72) slab_8(const __grid_constant__ Slab a) { slab<1, 9, 15, 1, 3, 1>(a); }
extern "C" __global__ void __launch_bounds__(512, 1) slab_16(const __grid_constant__ Slab a) { slab<2, 9, 15, 1, 3, 1>(a); }
extern "C" __global__ void __launch_bounds__(480, 1) slab_32(const __grid_constant__ Slab a) { slab<2, 10, 14, 2, 3, 2>(a); }

#endif
