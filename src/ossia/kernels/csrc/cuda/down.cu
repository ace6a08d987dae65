// The second matrix of every chosen expert, times the routing weights, summed over a token's experts.
//
//   y[part][token] = sum over the token's slots of weight * (W_e inner[token * top_k + slot] + b_e)
//
// in `parts` addends, float32. The line of units runs through all chosen experts of a tile of rows
// before the next tile, so that the sum over experts stays in registers.
#include "experts.cuh"

template <int NT, int AHEAD>
__device__ __forceinline__ void down(const Experts& a) {
  __shared__ Slots<NT> slots;
  __shared__ Routing routing;
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  const u32 U = a.units, T = a.tiles;
  // The router is two kernels back, and the one between let this one start after its own wait.
  routing.clear();
  __syncthreads();
  routing.choose(a);
  __syncthreads();
  routing.tabulate();
  __syncthreads();

  const u32 D = routing.chosen, per = D * U, total = per * T;
  const u32 c0 = share(total, blockIdx.x, gridDim.x), c1 = share(total, blockIdx.x + 1, gridDim.x);
  const u32 u0 = c0 + share(c1 - c0, warp, WARPS), u1 = c0 + share(c1 - c0, warp + 1, WARPS), n = u1 - u0;
  slots.share_out(c0, c1);
  u32 tile = per ? u0 / per : 0, at = per ? (u0 - tile * per) / U : 0, k = u0 - tile * per - at * U;
  uint4 words[AHEAD];
  u32 scales[AHEAD], issued = 0, load_tile = tile, load_at = at, left = U - k;
  const uint4* pw;
  const u32* ps;
  auto seek = [&]() {
    u64 unit = (u64)(routing.list[load_at] * T + load_tile + 1) * U - left;
    pw = a.blocks + unit * 32 + lane, ps = a.scales + unit * 8 + r;
  };
  auto issue = [&](int b) {
    words[b] = stream(pw), scales[b] = __ldg(ps);
    pw += 32, ps += 8, issued++;
    if (--left == 0) {
      left = U;
      if (++load_at == D) load_at = 0, load_tile++;
      if (issued < n) seek();
    }
  };
  if (n) seek();
#pragma unroll
  for (int b = 0; b < AHEAD; b++)
    if (issued < n) issue(b);
  dep_wait();
  dep_go();

  // Operands come one unit before their use; tokens that did not choose the expert count as zeros.
  uint4 next[NT][2];
  const uint4* px[NT];
  u32 x_at = at, x_left = U - k;
  auto seek_x = [&]() {
#pragma unroll
    for (int t = 0; t < NT; t++) {
      int slot = routing.slot_of[x_at][t * 8 + r];
      px[t] = slot < 0 ? nullptr : a.x + (u64)((t * 8 + r) * a.top_k + slot) * (U * 8) + (U - x_left) * 8 + q;
    }
  };
  auto fetch_x = [&]() {
#pragma unroll
    for (int t = 0; t < NT; t++) {
      next[t][0] = next[t][1] = zero4();
      if (px[t]) next[t][0] = px[t][0], next[t][1] = px[t][4], px[t] += 8;
    }
    if (--x_left == 0) {
      x_left = U;
      if (++x_at == D) x_at = 0;
      seek_x();
    }
  };
  if (n) seek_x(), fetch_x();

  auto emit = [&](u32 t, u32 item, auto sum) {
    u32 token = item / 16, row = t * 16 + item % 16;
    if (row >= a.rows) return;
    u32 part = blockIdx.x - holder(total, t * per, gridDim.x);
    float value = sum(item);
    if (part == 0) {
      for (u32 s = 0; s < a.top_k; s++) {
        int e = routing.ids[token][s];
        if (e >= 0) value += routing.weight[token][s] * wide(a.bias[(u64)e * a.rows + row]);
      }
    }
    float* y = (float*)a.y + (u64)token * a.rows + row;
    y[(u64)part * a.tokens * a.rows] = value;
    if (c1 >= (t + 1) * per)
      for (u32 p = part + 1; p < a.parts; p++) y[(u64)p * a.tokens * a.rows] = 0;
  };
  float acc[NT][4] = {}, sums[NT][4] = {};
  bool from_start = at == 0 && k == 0;
  u32 since = 0;
  auto weigh = [&]() {  // an expert's part of this warp's sums is complete
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
  };
  auto flush = [&](bool to_end) {
    if (from_start && to_end) {
      slots.emit_whole(tile, sums, a.tokens * 16, emit);
    } else {
      slots.put(slots.value[warp][tile == u0 / per ? 0 : 1], sums);
    }
#pragma unroll
    for (int t = 0; t < NT; t++) sums[t][0] = sums[t][1] = sums[t][2] = sums[t][3] = 0;
    tile++, since = 0, from_start = true;
  };
  for (u32 u = 0; u < n; u += AHEAD) {
#pragma unroll
    for (int b = 0; b < AHEAD; b++) {
      if (u + b < n) {
        uint4 word = words[b], xv[NT][2];
        u32 scale = scales[b];
        if (issued < n) issue(b);
#pragma unroll
        for (int t = 0; t < NT; t++) xv[t][0] = next[t][0], xv[t][1] = next[t][1];
        if (u + b + 1 < n) fetch_x();
        fp4_unit<NT>(acc, word, scale, xv);
        since++;
        if (++k == U) {
          weigh();
          k = 0;
          if (++at == D) at = 0, flush(true);
        }
      }
    }
  }
  if (since) {
    if (k) weigh();
    flush(false);
  }
  __syncthreads();
  if (total) slots.emit_shared(c0, c1, per, a.tokens * 16, emit);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) down_8(const __grid_constant__ Experts a) { down<1, 3>(a); }
extern "C" __global__ void __launch_bounds__(THREADS, 1) down_16(const __grid_constant__ Experts a) { down<2, 6>(a); }
