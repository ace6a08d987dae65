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
  u32 rows, steps, tokens, parts;
};

template <int NT, int AHEAD>
__device__ __forceinline__ void dense(const Dense& a) {
  extern __shared__ uint4 xs[];  // operands of the block's steps: [step][8 tokens][lane]
  __shared__ Slots<NT> slots;
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  const u32 steps = a.steps, tiles = (a.rows + 15) / 16, total = tiles * steps;
  u32 c0, c1;
  if (a.parts == 1) {
    c0 = share(tiles, blockIdx.x, gridDim.x) * steps, c1 = share(tiles, blockIdx.x + 1, gridDim.x) * steps;
  } else {
    c0 = share(total, blockIdx.x, gridDim.x), c1 = share(total, blockIdx.x + 1, gridDim.x);
  }
  const u32 u0 = c0 + share(c1 - c0, warp, WARPS), u1 = c0 + share(c1 - c0, warp + 1, WARPS), n = u1 - u0;

  // Weights run AHEAD steps before their use, from before the wait on.
  uint4 upper[AHEAD], lower[AHEAD];
  u32 issued = 0, load_tile = u0 / steps, load_step = u0 - load_tile * steps;
  const uint4 *pu, *pl;
  auto seek = [&]() {
    u32 m = load_tile < a.tile_end[0] ? 0 : load_tile < a.tile_end[1] ? 1 : 2;
    u32 before = m == 0 ? 0 : a.tile_end[m - 1];
    u32 last = a.rows - 1 - before * 16, row = (load_tile - before) * 16 + r;  // clamped, not stored
    const uint4* w = a.w[m] + load_step * 4 + q;
    pu = w + (u64)min(row, last) * (steps * 4), pl = w + (u64)min(row + 8, last) * (steps * 4);
  };
  auto issue = [&](int i) {
    upper[i] = stream(pu), lower[i] = stream(pl);
    pu += 4, pl += 4, issued++;
    if (++load_step == steps) {
      load_step = 0, load_tile++;
      if (issued < n) seek();
    }
  };
  if (n) seek();
#pragma unroll
  for (int i = 0; i < AHEAD; i++)
    if (issued < n) issue(i);
  slots.share_out(c0, c1);
  dep_go();
  dep_wait();

  const u32 base = c0 % steps, held = min(steps, c1 - c0);  // steps whose operands this block needs
  for (u32 i = threadIdx.x; i < held * 4 * a.tokens; i += THREADS) {
    u32 token = i / (held * 4), c = i - token * held * 4, at = base + c / 4;
    if (at >= steps) at -= steps;
    xs[(c / 4 * NT + token / 8) * 32 + token % 8 * 4 + c % 4] = a.x[token * steps * 4 + at * 4 + c % 4];
  }
  __syncthreads();

  auto emit = [&](u32 tile, u32 item, auto sum) {
    u32 token = item / 16, row = tile * 16 + item % 16;
    if (row >= a.rows) return;
    u32 part = a.parts == 1 ? 0 : blockIdx.x - holder(total, tile * steps, gridDim.x);
    float* y = a.y + (u64)token * a.rows + row;
    y[(u64)part * a.tokens * a.rows] = sum(item);
    if (c1 >= (tile + 1) * steps)
      for (u32 p = part + 1; p < a.parts; p++) y[(u64)p * a.tokens * a.rows] = 0;
  };
  u32 tile = u0 / steps, step = u0 - tile * steps, start = step, j = (u0 - c0) % steps;
  float acc[NT][4] = {};
  auto flush = [&]() {
    if (start == 0 && step == steps) {
      slots.emit_whole(tile, acc, a.tokens * 16, emit);
    } else {
      slots.put(slots.value[warp][tile == u0 / steps ? 0 : 1], acc);
    }
#pragma unroll
    for (int t = 0; t < NT; t++) acc[t][0] = acc[t][1] = acc[t][2] = acc[t][3] = 0;
    tile++, step = 0, start = 0;
  };
  for (u32 u = 0; u < n; u += AHEAD) {
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      if (u + i < n) {
        uint4 hi = upper[i], lo = lower[i];
        if (issued < n) issue(i);
#pragma unroll
        for (int t = 0; t < NT; t++) {
          uint4 v = t * 8 + r < a.tokens ? xs[(j * NT + t) * 32 + lane] : zero4();
          mma(acc[t], hi.x, lo.x, hi.y, lo.y, v.x, v.y);
          mma(acc[t], hi.z, lo.z, hi.w, lo.w, v.z, v.w);
        }
        if (++j == steps) j = 0;
        if (++step == steps) flush();
      }
    }
  }
  if (step != start) flush();
  __syncthreads();
  slots.emit_shared(c0, c1, steps, a.tokens * 16, emit);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) dense_8(const __grid_constant__ Dense a) { dense<1, 4>(a); }
extern "C" __global__ void __launch_bounds__(THREADS, 1) dense_16(const __grid_constant__ Dense a) { dense<2, 6>(a); }
