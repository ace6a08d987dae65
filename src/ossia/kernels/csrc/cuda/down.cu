// The second matrix of every chosen expert, times the routing weights, summed over a token's experts.
//
//   y[part][token] = sum over the token's slots of weight * (W_e inner[token * top_k + slot] + b_e)
//
// in `parts` addends, float32. The line of units runs through all chosen experts of a tile of rows
// before the next tile, so that the sum over experts stays in registers.
#include "experts.cuh"

template <int NT, int WARPS, int AHEAD>
__device__ __forceinline__ void down_product(const Experts& a) {
  // [warp][unit][codes, then 2 NT operands][lane], then scales [warp][unit][lane]
  extern __shared__ uint4 ring[];
  constexpr int SIZE = 32 * (1 + 2 * NT);
  __shared__ Slots<NT, WARPS> slots;
  __shared__ Routing routing;
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  const u64 once = read_once();
  const u32 U = a.units, T = a.tiles;
  // The router is two kernels back, and the one between let this one start after its own wait.
  routing.clear();
  __syncthreads();
  routing.find(a, a.positions[0] >= 0);

  const u32 D = routing.chosen, per = D * U, total = per * T;
  const u32 c0 = share(total, blockIdx.x, gridDim.x), c1 = share(total, blockIdx.x + 1, gridDim.x);
  const u32 u0 = c0 + share(c1 - c0, warp, WARPS), u1 = c0 + share(c1 - c0, warp + 1, WARPS), n = u1 - u0;
  slots.share_out(c0, c1);
  u32 tile = per ? u0 / per : 0, at = per ? (u0 - tile * per) / U : 0, k = u0 - tile * per - at * U;
  const uint4* mine = ring + warp * AHEAD * SIZE + lane;
  const u32* scales = (const u32*)(ring + WARPS * AHEAD * SIZE) + warp * AHEAD * 32 + lane;
  const u32 to = shared_address(mine), scales_to = shared_address(scales);
  u32 load_tile = tile, load_at = at, left = U - k;
  const uint4* pw;
  const u32* ps;
  auto seek = [&]() {
    u64 unit = (u64)(routing.list[load_at] * T + load_tile + 1) * U - left;
    pw = a.blocks + unit * 32 + lane, ps = a.scales + unit * 8 + r;
  };
  auto issue = [&](u32 place, bool last) {
    copy16_once(to + place * (SIZE * 16), pw, once), copy4(scales_to + place * 128, ps);
    pw += 32, ps += 8;
    if (--left == 0) {
      left = U;
      if (++load_at == D) load_at = 0, load_tile++;
      if (!last) seek();
    }
  };
  // Operands of tokens that did not choose the expert are zeros.
  u32 x_at = at, x_left = U - k;
  const uint4* px[NT];
  bool chose[NT];
  auto seek_x = [&]() {
#pragma unroll
    for (int t = 0; t < NT; t++) {
      int slot = routing.slot_of[x_at][t * 8 + r];
      chose[t] = slot >= 0;
      px[t] = a.x + (chose[t] ? (u64)((t * 8 + r) * a.top_k + slot) * (U * 8) + (U - x_left) * 8 + q : 0);
    }
  };
  auto issue_x = [&](u32 place) {
#pragma unroll
    for (int t = 0; t < NT; t++) {
      u32 there = to + place * (SIZE * 16) + (1 + 2 * t) * 512;
      copy16(there, px[t], chose[t]), copy16(there + 512, px[t] + 4, chose[t]);
      if (chose[t]) px[t] += 8;
    }
    if (--x_left == 0) {
      x_left = U;
      if (++x_at == D) x_at = 0;
      seek_x();
    }
  };
  if (n) seek(), seek_x();
#pragma unroll 1
  for (int b = 0; b < AHEAD; b++)
    if (b < n) issue(b, b + 1 == n);
  copies_end();
  dep_wait();
  dep_go();
#pragma unroll 1
  for (int b = 0; b < AHEAD; b++) {
    if (b < n) issue_x(b);
    copies_end();
  }

  auto emit = [&](u32 t, u32 item, auto sum) {
    u32 token = item / 16, row = t * 16 + item % 16;
    if (row >= a.rows) return;
    u32 part = blockIdx.x - holder(total, t * per, gridDim.x);
    float value = sum(item);
    if (part == 0) {
      for (u32 c = 0; c < D; c++) {
        int slot = routing.slot_of[c][token];
        if (slot >= 0) value += routing.weight[token][slot] * wide(a.bias[(u64)routing.list[c] * a.rows + row]);
      }
    }
    float* y = (float*)a.y + (u64)token * a.rows + row;
    y[(u64)part * a.tokens * a.rows] = value;
    if (c1 >= (t + 1) * per)
      for (u32 p = part + 1; p < a.parts; p++) y[(u64)p * a.tokens * a.rows] = 0;
  };
  float acc[NT][4] = {}, sums[NT][4] = {};
  bool from_start = at == 0 && k == 0;
  u32 place = 0;
  for (u32 u = 0; u < n; u++) {
    copies_wait<AHEAD - 1>();
    const uint4* unit = mine + place * SIZE;
    uint4 word = unit[0], xv[NT][2];
    u32 scale = scales[place * 32];
#pragma unroll
    for (int t = 0; t < NT; t++) xv[t][0] = unit[(1 + 2 * t) * 32], xv[t][1] = unit[(2 + 2 * t) * 32];
    fp4_unit<false, NT>(acc, word, scale, [&](int t, int half) { return xv[t][half]; });
    if (u + AHEAD < n) issue(place, u + AHEAD + 1 == n), issue_x(place);
    copies_end();
    if (++place == AHEAD) place = 0;
    const bool last = u + 1 == n;
    if (++k == U || last) {  // an expert's part of this warp's sums is complete
#pragma unroll
      for (int t = 0; t < NT; t++) {
#pragma unroll
        for (int c = 0; c < 2; c++) {
          u32 token = t * 8 + 2 * q + c;
          int slot = routing.slot_of[at][token];
          float w = slot < 0 ? 0.f : routing.weight[token][slot] * REST_SCALE;
          sums[t][c] += w * acc[t][c], sums[t][c + 2] += w * acc[t][c + 2];
          acc[t][c] = acc[t][c + 2] = 0;
        }
      }
      bool to_end = k == U && at + 1 == D;
      if (to_end || last) {
        if (from_start && to_end) {
          slots.emit_whole(tile, sums, a.tokens * 16, emit);
        } else {
          slots.put(slots.value[warp][tile == u0 / per ? 0 : 1], sums);
        }
#pragma unroll
        for (int t = 0; t < NT; t++) sums[t][0] = sums[t][1] = sums[t][2] = sums[t][3] = 0;
        tile++, from_start = true, at = 0;
      } else {
        at++;
      }
      k = 0;
    }
  }
  __syncthreads();
  if (total) slots.emit_shared(c0, c1, per, a.tokens * 16, emit);
}

extern "C" __global__ void __launch_bounds__(384, 2) down(const __grid_constant__ Experts a) { down_product<1, 12, 4>(a); }
