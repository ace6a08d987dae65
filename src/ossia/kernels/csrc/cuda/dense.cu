// A bfloat16 matrix, or up to three that lie one below the other, times up to 8 tokens.
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
__device__ __forceinline__ void dense_product(const Dense& a) {
  // [warp][unit][16 rows][8 pieces of 16 bytes]. Eight lanes copy a row's 128 bytes, since memory gives
  // whole lines; odd rows have their halves swapped, so that readers meet no bank twice.
  extern __shared__ uint4 ring[];
  __shared__ Slots<NT, WARPS> slots;
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  uint4* xs = ring + WARPS * AHEAD * 128;  // operands of the block's units: [unit][half][token][4]
  const u64 once = read_once();
  const u32 U = (a.steps + 1) / 2, tiles = (a.rows + 15) / 16, total = tiles * U;
  u32 c0, c1;
  if (a.parts == 1) {
    c0 = share(tiles, blockIdx.x, gridDim.x) * U, c1 = share(tiles, blockIdx.x + 1, gridDim.x) * U;
  } else {
    c0 = share(total, blockIdx.x, gridDim.x), c1 = share(total, blockIdx.x + 1, gridDim.x);
  }
  const u32 u0 = c0 + share(c1 - c0, warp, WARPS), u1 = c0 + share(c1 - c0, warp + 1, WARPS), n = u1 - u0;

  const u32 copied = lane >> 3, piece = lane & 7;  // this lane copies rows `copied` + 0, 4, 8, 12
  const u32 to = shared_address(ring + warp * AHEAD * 128 + copied * 8 + (piece ^ (copied & 1) * 4));
  u32 issued = 0, load_place = 0, load_tile = u0 / U, load_unit = u0 - load_tile * U;
  const uint4* pw[4];
  auto seek = [&]() {
    u32 m = load_tile < a.tile_end[0] ? 0 : load_tile < a.tile_end[1] ? 1 : 2;
    u32 before = m == 0 ? 0 : a.tile_end[m - 1];
    u32 last = a.rows - 1 - before * 16, row = (load_tile - before) * 16 + copied;
    const uint4* w = a.w[m] + load_unit * 8 + piece;
#pragma unroll
    for (int i = 0; i < 4; i++) pw[i] = w + (u64)min(row + 4 * i, last) * (a.steps * 4);  // clamped, not stored
  };
  auto issue = [&]() {
    if (issued < n) {
      bool there = load_unit * 8 + piece < a.steps * 4;  // an odd last half counts as zeros
      u32 at = to + load_place * 2048;
#pragma unroll
      for (int i = 0; i < 4; i++) copy16_once(at + i * 512, there ? pw[i] : a.w[0], once, there), pw[i] += 8;
      issued++;
      if (++load_place == AHEAD) load_place = 0;
      if (++load_unit == U) {
        load_unit = 0, load_tile++;
        if (issued < n) seek();
      }
    }
    copies_end();
  };
  if (n) seek();
#pragma unroll 1
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
  u32 tile = u0 / U, unit = u0 - tile * U, start = unit, place = 0, j = (u0 - c0) % U;
  const uint4* mine = ring + warp * AHEAD * 128 + r * 8 + q;
  const u32 swapped = (r & 1) * 4;
  // Columns beyond the tokens repeat the last one; nobody looks at their sums.
  const uint4* first_x[NT];
#pragma unroll
  for (int t = 0; t < NT; t++) first_x[t] = xs + min(t * 8 + r, a.tokens - 1) * 4 + q;
  u32 x_at = j * 8 * a.tokens;
  float acc[NT][4] = {};
  for (u32 u = 0; u < n; u++) {
    copies_wait<AHEAD - 1>();
    __syncwarp();
    const uint4* w = mine + place * 128;
    if (++place == AHEAD) place = 0;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      uint4 hi = w[(h * 4) ^ swapped], lo = w[64 + ((h * 4) ^ swapped)];
#pragma unroll
      for (int t = 0; t < NT; t++) {
        uint4 v = first_x[t][x_at + h * 4 * a.tokens];
        mma(acc[t], hi.x, lo.x, hi.y, lo.y, v.x, v.y);
        mma(acc[t], hi.z, lo.z, hi.w, lo.w, v.z, v.w);
      }
    }
    __syncwarp();
    x_at += 8 * a.tokens;
    issue();
    if (++j == U) j = 0, x_at = 0;
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

extern "C" __global__ void __launch_bounds__(128, 2) dense(const __grid_constant__ Dense a) { dense_product<1, 4, 6>(a); }
