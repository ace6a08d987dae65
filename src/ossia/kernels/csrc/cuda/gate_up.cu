// Gate, up and activation of every chosen expert, each expert's weights read once.
//
//   inner[token * top_k + slot] = clamped_swiglu(W_e x_token + b_e) for e = the slot's expert
//
// A tile holds 8 gates above their 8 ups. Blocks take whole tiles of the chosen experts.
#include "experts.cuh"

template <int NT, int AHEAD>
__device__ __forceinline__ void gate_up(const Experts& a) {
  extern __shared__ uint4 xs[];  // [unit][half][8 tokens][lane]
  __shared__ Slots<NT> slots;
  __shared__ Routing routing;
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2;
  const u32 U = a.units, T = a.tiles, chunks = U * 8;  // chunks of 16 bytes in a token's row
  routing.clear();
  __syncthreads();
  dep_wait();
  dep_go();  // not before: the next kernel relies on the router's results being there

  auto place = [&](u32 i) {
    u32 token = i / chunks, c = i - token * chunks;
    return xs + (c / 4 * NT + token / 8) * 32 + token % 8 * 4 + c % 4;
  };
  u32 i = threadIdx.x;
  uint4 first = i < chunks * a.tokens ? a.x[i] : zero4();  // under way while experts are chosen
  routing.choose(a);
  if (i < chunks * a.tokens) *place(i) = first;
  for (i += THREADS; i < chunks * a.tokens; i += THREADS) *place(i) = a.x[i];
  __syncthreads();
  routing.tabulate();
  __syncthreads();

  const u32 per = T * U, tiles = routing.chosen * T;
  const u32 c0 = share(tiles, blockIdx.x, gridDim.x) * U, c1 = share(tiles, blockIdx.x + 1, gridDim.x) * U;
  const u32 u0 = c0 + share(c1 - c0, warp, WARPS), u1 = c0 + share(c1 - c0, warp + 1, WARPS), n = u1 - u0;
  slots.share_out(c0, c1);
  uint4 words[AHEAD];
  u32 scales[AHEAD], issued = 0, at = u0 / per, left = (at + 1) * per - u0;
  const uint4* pw;
  const u32* ps;
  auto seek = [&]() {
    u64 unit = (u64)(routing.list[at] + 1) * per - left;
    pw = a.blocks + unit * 32 + lane, ps = a.scales + unit * 8 + r;
  };
  auto issue = [&](int k) {
    words[k] = stream(pw), scales[k] = __ldg(ps);
    pw += 32, ps += 8, issued++;
    if (--left == 0) {
      at++, left = per;
      if (issued < n) seek();
    }
  };
  if (n) seek();
#pragma unroll
  for (int k = 0; k < AHEAD; k++)
    if (issued < n) issue(k);

  auto emit = [&](u32 tile, u32 item, auto sum) {
    u32 c = tile / T, row = item % 8, token = item / 8, e = routing.list[c];
    int slot = routing.slot_of[c][token];
    if (slot < 0) return;
    tile -= c * T;
    const u16* bias = a.bias + (u64)e * a.rows + (tile * 8 + row) * 2;
    float gate = rounded(sum(token * 16 + row) * REST_SCALE + wide(bias[0]));
    float up = rounded(sum(token * 16 + row + 8) * REST_SCALE + wide(bias[1]));
    gate = fminf(gate, a.limit), up = fminf(fmaxf(up, -a.limit), a.limit);
    float out = rounded(gate / (1.f + expf(-a.alpha * gate)) * (up + 1.f)) * X_SCALE;
    ((u16*)a.y)[(u64)(token * a.top_k + slot) * a.out_stride + tile * 8 + row] = (u16)pack(out, 0.f);
  };
  u32 tile = u0 / U, k = u0 - tile * U, start = k;
  float acc[NT][4] = {};
  auto flush = [&]() {
    if (start == 0 && k == U) {
      slots.emit_whole(tile, acc, a.tokens * 8, emit);
    } else {
      slots.put(slots.value[warp][tile == u0 / U ? 0 : 1], acc);
    }
#pragma unroll
    for (int t = 0; t < NT; t++) acc[t][0] = acc[t][1] = acc[t][2] = acc[t][3] = 0;
    tile++, k = 0, start = 0;
  };
  const uint4* px = xs + k * 2 * NT * 32 + lane;
  for (u32 u = 0; u < n; u += AHEAD) {
#pragma unroll
    for (int b = 0; b < AHEAD; b++) {
      if (u + b < n) {
        uint4 word = words[b], xv[NT][2];
        u32 scale = scales[b];
        if (issued < n) issue(b);
#pragma unroll
        for (int t = 0; t < NT; t++) {
          bool there = t * 8 + r < a.tokens;
          xv[t][0] = there ? px[t * 32] : zero4(), xv[t][1] = there ? px[(NT + t) * 32] : zero4();
        }
        fp4_unit<NT>(acc, word, scale, xv);
        px += 2 * NT * 32;
        if (++k == U) flush(), px = xs + lane;
      }
    }
  }
  if (k != start) flush();
  __syncthreads();
  slots.emit_shared(c0, c1, U, a.tokens * 8, emit);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) gate_up_8(const __grid_constant__ Experts a) { gate_up<1, 4>(a); }
extern "C" __global__ void __launch_bounds__(THREADS, 1) gate_up_16(const __grid_constant__ Experts a) { gate_up<2, 8>(a); }
