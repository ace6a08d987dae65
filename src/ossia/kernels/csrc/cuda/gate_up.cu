// Gate, up and activation of every chosen expert, each expert's weights read once.
//
//   inner[token * top_k + slot] = clamped_swiglu(W_e x_token + b_e) for e = the slot's expert
//
// A tile holds 8 gates above their 8 ups. Blocks take whole tiles of the chosen experts.
#include "experts.cuh"

constexpr u32 BIASES = 48;

template <int NT, int WARPS, int AHEAD>
__device__ __forceinline__ void gate_up_product(const Experts& a) {
  extern __shared__ uint4 ring[];  // [warp][unit][lane], then scales, then operands [unit][half][token][4]
  __shared__ Slots<NT, WARPS> slots;
  __shared__ Routing routing;
  __shared__ uint4 biases[BIASES][2];  // of the block's first tiles
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  u32* scale_ring = (u32*)(ring + WARPS * AHEAD * 32);
  uint4* xs = (uint4*)(scale_ring + WARPS * AHEAD * 32);
  const u32 U = a.units, T = a.tiles, chunks = U * 8;  // chunks of 16 bytes in a token's row
  const u64 once = read_once();
  routing.clear();
  const bool first_is_there = a.positions[0] >= 0;  // known for long
  __syncthreads();
  dep_wait();
  dep_go();  // not before: the next kernel relies on the router's results being there

  for (u32 i = threadIdx.x; i < chunks * a.tokens; i += WARPS * 32) {
    u32 token = i / chunks, c = i - token * chunks;
    copy16(shared_address(xs + (c / 4 * a.tokens + token) * 4 + c % 4), a.x + i);
  }
  routing.find(a, first_is_there);

  const u32 per = T * U, tiles = routing.chosen * T;
  const u32 c0 = share(tiles, blockIdx.x, gridDim.x) * U, c1 = share(tiles, blockIdx.x + 1, gridDim.x) * U;
  const u32 u0 = c0 + share(c1 - c0, warp, WARPS), u1 = c0 + share(c1 - c0, warp + 1, WARPS), n = u1 - u0;
  slots.share_out(c0, c1);
  const u32 tile0 = c0 / U;
  for (u32 i = threadIdx.x; i < min((c1 - c0) / U, BIASES) * 2; i += WARPS * 32) {
    u32 tile = tile0 + i / 2, c = tile / T;
    copy16(shared_address(&biases[i / 2][i % 2]), a.bias + (u64)routing.list[c] * a.rows + (tile - c * T) * 16 + i % 2 * 8);
  }
  copies_end();
  const uint4* words = ring + warp * AHEAD * 32 + lane;
  const u32* scales = scale_ring + warp * AHEAD * 32 + lane;
  const u32 words_to = shared_address(words), scales_to = shared_address(scales);
  u32 issued = 0, load_place = 0, at = u0 / per, left = (at + 1) * per - u0;
  const uint4* pw;
  const u32* ps;
  auto seek = [&]() {
    u64 unit = (u64)(routing.list[at] + 1) * per - left;
    pw = a.blocks + unit * 32 + lane, ps = a.scales + unit * 8 + r;
  };
  auto issue = [&]() {
    if (issued < n) {
      copy16_once(words_to + load_place * 512, pw, once), copy4(scales_to + load_place * 128, ps);
      pw += 32, ps += 8, issued++;
      if (++load_place == AHEAD) load_place = 0;
      if (--left == 0) {
        at++, left = per;
        if (issued < n) seek();
      }
    }
    copies_end();
  };
  if (n) seek();
#pragma unroll 1
  for (int k = 0; k < AHEAD; k++) issue();
  copies_wait<AHEAD>();  // operands and biases
  __syncthreads();

  auto emit = [&](u32 tile, u32 item, auto sum) {
    u32 c = tile / T, row = item % 8, token = item / 8, e = routing.list[c];
    int slot = routing.slot_of[c][token];
    if (slot < 0) return;
    const u32 here = tile - tile0;
    tile -= c * T;
    const u16* bias = here < BIASES ? (const u16*)biases[here] : a.bias + (u64)e * a.rows + tile * 16;
    bias += row * 2;
    float gate = rounded(sum(token * 16 + row) * REST_SCALE + wide(bias[0]));
    float up = rounded(sum(token * 16 + row + 8) * REST_SCALE + wide(bias[1]));
    gate = below(gate, a.limit), up = -below(-below(up, a.limit), a.limit);
    float out = rounded(gate / (1.f + expf(-a.alpha * gate)) * (up + 1.f)) * X_SCALE;
    ((u16*)a.y)[(u64)(token * a.top_k + slot) * a.out_stride + tile * 8 + row] = (u16)pack(out, 0.f);
  };
  u32 tile = u0 / U, k = u0 - tile * U, start = k, place = 0;
  // Columns beyond the tokens repeat the last one; nobody looks at their sums.
  const uint4* first_x[NT];
#pragma unroll
  for (int t = 0; t < NT; t++) first_x[t] = xs + min(t * 8 + r, a.tokens - 1) * 4 + q;
  u32 x_at = k * 8 * a.tokens;
  float acc[NT][4] = {};
  for (u32 u = 0; u < n; u++) {
    copies_wait<AHEAD - 1>();
    uint4 word = words[place * 32], xv[NT][2];
    u32 scale = scales[place * 32];
    if (++place == AHEAD) place = 0;
#pragma unroll
    for (int t = 0; t < NT; t++)
#pragma unroll
      for (int h = 0; h < 2; h++)
        xv[t][h] = first_x[t][x_at + h * 4 * a.tokens];
    x_at += 8 * a.tokens;
    fp4_unit<false, NT>(acc, word, scale, [&](int t, int half) { return xv[t][half]; });
    issue();
    if (++k == U || u + 1 == n) {
      if (start == 0 && k == U) {
        slots.emit_whole(tile, acc, a.tokens * 8, emit);
      } else {
        slots.put(slots.value[warp][tile == u0 / U ? 0 : 1], acc);
      }
#pragma unroll
      for (int t = 0; t < NT; t++) acc[t][0] = acc[t][1] = acc[t][2] = acc[t][3] = 0;
      tile++, k = 0, start = 0, x_at = 0;
    }
  }
  __syncthreads();
  slots.emit_shared(c0, c1, U, a.tokens * 8, emit);
}

extern "C" __global__ void __launch_bounds__(384, 2) gate_up(const __grid_constant__ Experts a) { gate_up_product<1, 12, 5>(a); }
