// What dense.cu does, for one to four tokens: no tensor cores, a warp takes a piece of a row at a time.
//
//   y[part][token][row] = sum over k of w[row][k] x[token][k], float32
//
// With more than one part, part p is piece p of every row; with one part a warp goes through all
// pieces of a row. A piece has at most PIECE chunks of 8 k.
#include "common.cuh"

constexpr u32 LOADS = 6, PIECE = LOADS * 32, GWARPS = 16;

struct Dense {
  const uint4* w[3];
  const uint4* x;   // bfloat16 (tokens, k)
  float* y;         // (parts, tokens, rows)
  u32 tile_end[3];  // tiles of 16 rows before the end of each matrix
  u32 rows, steps, tokens, parts;  // steps: of 32 k
};

__device__ __forceinline__ float dot(float sum, u32 w, u32 x) {
  return fmaf(high(w), high(x), fmaf(low(w), low(x), sum));
}

template <int TOKENS>
__device__ __forceinline__ void gemv(const Dense& a) {
  extern __shared__ uint4 xs[];  // [token][chunk]
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, stride = gridDim.x * GWARPS;
  const u32 chunks = a.steps * 4, pieces = a.parts > 1 ? a.parts : (chunks + PIECE - 1) / PIECE;
  u32 unit = warp * gridDim.x + blockIdx.x, row = unit, piece = 0;
  if (a.parts > 1) row = unit / pieces, piece = unit - row * pieces;
  const u64 once = read_once();
  u32 begin, count;  // chunks of the piece whose weights are on their way
  uint4 held[LOADS];
  auto load = [&]() {
    u32 m = row < a.tile_end[0] * 16 ? 0 : row < a.tile_end[1] * 16 ? 1 : 2;
    u32 before = m == 0 ? 0 : a.tile_end[m - 1] * 16;
    begin = share(chunks, piece, pieces), count = share(chunks, piece + 1, pieces) - begin;
    const uint4* from = a.w[m] + (u64)(row - before) * chunks + begin + lane;
#pragma unroll
    for (int i = 0; i < LOADS; i++)
      if (lane + 32 * i < count) held[i] = stream(from + 32 * i, once);
  };
  if (row < a.rows) load();  // weights need not wait
  dep_go();
  dep_wait();
  for (u32 i = threadIdx.x; i < chunks * TOKENS; i += GWARPS * 32)
    xs[i] = i < chunks * a.tokens ? a.x[i] : zero4();
  __syncthreads();
  float sum[TOKENS] = {};
  while (row < a.rows) {
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
      if (lane + 32 * i < count) {
        const uint4 w = held[i];
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
          const uint4 x = xs[t * chunks + begin + lane + 32 * i];
          sum[t] = dot(dot(dot(dot(sum[t], w.x, x.x), w.y, x.y), w.z, x.z), w.w, x.w);
        }
      }
    }
    const u32 done = row, part = a.parts > 1 ? piece : 0;
    bool whole = true;
    if (a.parts > 1) {
      unit += stride, row = unit / pieces, piece = unit - row * pieces;
    } else {
      whole = ++piece == pieces;
      if (whole) piece = 0, row += stride;
    }
    if (row < a.rows) load();
    if (!whole) continue;
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
      for (int o = 16; o; o >>= 1) sum[t] += __shfl_xor_sync(EVERY_LANE, sum[t], o);
      if (lane == 0 && t < a.tokens) a.y[(u64)(part * a.tokens + t) * a.rows + done] = sum[t];
      sum[t] = 0;
    }
  }
}

extern "C" __global__ void __launch_bounds__(512, 2) gemv_1(const __grid_constant__ Dense a) { gemv<1>(a); }
extern "C" __global__ void __launch_bounds__(512, 2) gemv_2(const __grid_constant__ Dense a) { gemv<2>(a); }
extern "C" __global__ void __launch_bounds__(512, 2) gemv_4(const __grid_constant__ Dense a) { gemv<4>(a); }
