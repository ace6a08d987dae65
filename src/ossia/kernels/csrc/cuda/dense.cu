// A bfloat16 matrix, or up to three that lie one below the other, times up to 8 or 16 tokens.
//
//   y[part][token][row] = sum over k of w[row][k] x[token][k], float32, in `parts` addends
//
// Reads rows as they are (k a multiple of 32, rows of each but the last a multiple of 16). With one
// part every block takes whole tiles of 16 rows; with more, blocks take equal shares of everything,
// and what a tile's blocks have of it lies in parts that the reader adds up. All parts are written.
#include "segments.cuh"

struct Dense {
  const uint4* w[3];
  const uint4* x;   // bfloat16 (tokens, k)
  float* y;         // (parts, tokens, rows)
  u32 tile_end[3];  // tiles before the end of each matrix
  u32 rows, steps, tokens, parts;  // steps: of 32 k
};

// A unit is 64 k. AHEAD of them are on their way for each warp.
template <int NT, int WARPS, int AHEAD>
__device__ __forceinline__ void dense(const Dense& a) {
  extern __shared__ uint4 ring[];  // [warp][unit][upper, lower rows of both halves][lane]
  __shared__ Slots<NT, WARPS> slots;
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  uint4* xs = ring + WARPS * AHEAD * 128;  // operands of the block's units: [unit][half][token][4]
  const u32 U = (a.steps + 1) / 2, tiles = (a.rows + 15) / 16, total = tiles * U;
  u32 c0, c1;
  if (a.parts == 1) {
    c0 = share(tiles, blockIdx.x, gridDim.x) * U, c1 = share(tiles, blockIdx.x + 1, gridDim.x) * U;
  } else {
    c0 = share(total, blockIdx.x, gridDim.x), c1 = share(total, blockIdx.x + 1, gridDim.x);
  }
  const u32 u0 = c0 + share(c1 - c0, warp, WARPS), u1 = c0 + share(c1 - c0, warp + 1, WARPS), n = u1 - u0;

  uint4* mine = ring + warp * AHEAD * 128 + lane;
  const u32 to = shared_address(mine);
  u32 issued = 0, load_place = 0, load_tile = u0 / U, load_unit = u0 - load_tile * U;
  const uint4 *pu, *pl;
  auto seek = [&]() {
    u32 m = load_tile < a.tile_end[0] ? 0 : load_tile < a.tile_end[1] ? 1 : 2;
    u32 before = m == 0 ? 0 : a.tile_end[m - 1];
    u32 last = a.rows - 1 - before * 16, row = (load_tile - before) * 16 + r;  // clamped, not stored
    const uint4* w = a.w[m] + load_unit * 8 + q;
    pu = w + (u64)min(row, last) * (a.steps * 4), pl = w + (u64)min(row + 8, last) * (a.steps * 4);
  };
  auto issue = [&]() {
    if (issued < n) {
      bool both = load_unit * 2 + 1 < a.steps;  // an odd last half counts as zeros
      u32 at = to + load_place * 2048;
      copy16(at, pu), copy16(at + 1024, pu + (both ? 4 : 0), both);
      copy16(at + 512, pl), copy16(at + 1536, pl + (both ? 4 : 0), both);
      pu += 8, pl += 8, issued++;
      if (++load_place == AHEAD) load_place = 0;
      if (++load_unit == U) {
        load_unit = 0, load_tile++;
        if (issued < n) seek();
      }
    }
    copies_end();
  };
  if (n) seek();
#pragma unroll
  for (int i = 0; i < AHEAD; i++) issue();  // weights need not wait
  slots.share_out(c0, c1);
  dep_go();
  dep_wait();

  const u32 base = c0 % U, held = min(U, c1 - c0);  // units whose operands this block needs
  for (u32 i = threadIdx.x; i < held * 8 * a.tokens; i += WARPS * 32) {
    u32 token = i / (held * 8), c = i - token * held * 8, unit = base + c / 8;
    if (unit >= U) unit -= U;
    u32 at = unit * 8 + c % 8;
    xs[(c / 4 * a.tokens + token) * 4 + c % 4] = at < a.steps * 4 ? a.x[token * a.steps * 4 + at] : zero4();
  }
  __syncthreads();

  auto emit = [&](u32 tile, u32 item, auto sum) {
    u32 token = item / 16, row = tile * 16 + item % 16;
    if (row >= a.rows) return;
    u32 part = a.parts == 1 ? 0 : blockIdx.x - holder(total, tile * U, gridDim.x);
    float* y = a.y + (u64)token * a.rows + row;
    y[(u64)part * a.tokens * a.rows] = sum(item);
    if (c1 >= (tile + 1) * U)
      for (u32 p = part + 1; p < a.parts; p++) y[(u64)p * a.tokens * a.rows] = 0;
  };
  u32 tile = u0 / U, unit = u0 - tile * U, start = unit, j = (u0 - c0) % U, place = 0;
  float acc[NT][4] = {};
  for (u32 u = 0; u < n; u++) {
    copies_wait<AHEAD - 1>();
    const uint4* w = mine + place * 128;
    if (++place == AHEAD) place = 0;
    uint4 v[2][NT];
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
      for (int t = 0; t < NT; t++)
        v[h][t] = t * 8 + r < a.tokens ? xs[((j * 2 + h) * a.tokens + t * 8 + r) * 4 + q] : zero4();
#pragma unroll
    for (int h = 0; h < 2; h++) {
      uint4 hi = w[h * 64], lo = w[h * 64 + 32];
#pragma unroll
      for (int t = 0; t < NT; t++) {
        mma(acc[t], hi.x, lo.x, hi.y, lo.y, v[h][t].x, v[h][t].y);
        mma(acc[t], hi.z, lo.z, hi.w, lo.w, v[h][t].z, v[h][t].w);
      }
    }
    issue();
    if (++j == U) j = 0;
    if (++unit == U || u + 1 == n) {
      if (start == 0 && unit == U) {
        slots.emit_whole(tile, acc, a.tokens * 16, emit);
      } else {
        slots.put(slots.value[warp][tile == u0 / U ? 0 : 1], acc);
      }
#pragma unroll
      for (int t = 0; t < NT; t++) acc[t][0] = acc[t][1] = acc[t][2] = acc[t][3] = 0;
      tile++, unit = 0, start = 0;
    }
  }
  __syncthreads();
  slots.emit_shared(c0, c1, U, a.tokens * 16, emit);
}

extern "C" __global__ void __launch_bounds__(256, 2) dense_8(const __grid_constant__ Dense a) { dense<1, 8, 3>(a); }
extern "C" __global__ void __launch_bounds__(256, 1) dense_16(const __grid_constant__ Dense a) { dense<2, 8, 5>(a); }
