// All of a layer's experts for up to 4 tokens in one kernel, on Hopper: gate and up, activation, and the
// way back, so that weights come without a pause.
//
//   inner[token * top_k + slot] = clamped_swiglu(U_e x_token + b_e)
//   y[slot][token] = weight * (D_e inner[token * top_k + slot] + c_e) for e = the slot's expert
//
// A multiprocessor takes one block. Its last warp copies weights, tile by tile, into a ring of stages in
// shared memory, first those of gate and up, then at once those of the way back; it never asks for more
// than a few stages at a time, or what else is loaded would queue behind them. The other warps share a
// tile's units. Between the two matrices all blocks wait for each other, while the ring fills.
//
// What bounds a warp is its number of instructions. An instruction multiplies with 8 columns, and there
// are TOKENS = 1, 2 or 4: so each of a unit's blocks of 32 k has columns of its own, where zeros stand
// for the other blocks, and scales are multiplied once to the sums of 8 / TOKENS blocks. Sums are added
// up in the order of the warps.
#include "bulk.cuh"
#include "experts.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr u32 WARPS = 12, UNITS = 4;  // a warp takes every 12th unit of a tile, 4 at most
constexpr u32 MOST_STAGES = 32;
constexpr int THREADS = WARPS * 32;

struct Matrix {
  const u8* blocks;  // relaid: (experts, tiles, units, 32 lanes of 16 bytes)
  const u8* scales;  // relaid: (experts, tiles, units, 8 pairs of rows of 4 bytes)
  const u16* bias;   // bfloat16 (experts, rows)
  u32 tiles, units, rows;
};

struct Few {
  Matrix up, down;
  const float* logits;   // (tokens, experts)
  const int* positions;  // (tokens,), negative where there is no token
  const uint4* x;        // bfloat16 times 2^64 (tokens, up.units * 64)
  uint4* inner;          // bfloat16 times 2^64 (tokens * top_k, down.units * 64)
  float* y;              // (top_k, tokens, down.rows)
  u64* arrivals;         // of blocks, a multiple of the grid's size before and after
  u32 tokens, experts, top_k, stages, stage, flight, sums;  // stage: bytes; sums: tiles whose sums there is room for
  float alpha, limit;
};

// A meeting of all blocks: what a block has written before it comes, the others see after they have waited.
// One thread of each block calls these.
__device__ __forceinline__ u64 come(u64* arrivals) {  // returns how many arrivals to wait for
  u64 before;
  asm volatile("atom.add.release.gpu.global.u64 %0,[%1],1;" : "=l"(before) : "l"(arrivals) : "memory");
  return (before / gridDim.x + 1) * gridDim.x;
}
__device__ __forceinline__ void await(const u64* arrivals, u64 all) {
  u64 now;
  do asm volatile("ld.acquire.gpu.global.u64 %0,[%1];" : "=l"(now) : "l"(arrivals) : "memory");
  while (now < all);
}

// One of four scales s as 2^(s - 63).
__device__ __forceinline__ float scale_of(u32 scales, u32 which) { return __uint_as_float(((scales >> 8 * which & 255) + 64) << 23); }

template <int TOKENS>
__device__ __forceinline__ void few(const Few& a) {
  constexpr u32 BLOCKS = 8 / TOKENS, GROUP = BLOCKS / 2, LANES = 4 / TOKENS;  // a group: units with columns of their own; lanes of a token
  extern __shared__ __align__(128) u8 ring[];  // stages, then sums [tile][warp][token][16 rows]
  __shared__ u64 full[MOST_STAGES], empty[MOST_STAGES];
  __shared__ Routing routing;
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  const u32 base = shared_address(ring), fulls = shared_address(full), empties = shared_address(empty);
  const bool first_is_there = a.positions[0] >= 0;  // known for long
  routing.clear();
  if (threadIdx.x < a.stages) barrier_init(fulls + threadIdx.x * 8, 1), barrier_init(empties + threadIdx.x * 8, WARPS);
  barriers_ready();
  __syncthreads();
  dep_go();
  dep_wait();
  // A lane's operands: of token r / BLOCKS, and of each group's blocks number r % BLOCKS.
  uint4 x[UNITS][2];
  auto operands = [&](const uint4* row, u32 units, bool there) {
#pragma unroll
    for (u32 j = 0; j < UNITS; j++)
#pragma unroll
      for (u32 h = 0; h < 2; h++) {
        const u32 unit = j * WARPS + warp;
        x[j][h] = there && unit < units && r % BLOCKS == j % GROUP * 2 + h ? fresh(row + unit * 8 + h * 4 + q) : zero4();
      }
  };
  const u32 token = r / BLOCKS;
  if (warp < WARPS) operands(a.x + (u64)token * a.up.units * 8, a.up.units, token < a.tokens);
  routing.find(a, first_is_there);
  const u32 chosen = routing.chosen;
  if (chosen == 0) return;  // in all blocks
  // Tiles, all of an expert before the next one's.
  const u32 up0 = share(chosen * a.up.tiles, blockIdx.x, gridDim.x), up1 = share(chosen * a.up.tiles, blockIdx.x + 1, gridDim.x);
  const u32 down0 = share(chosen * a.down.tiles, blockIdx.x, gridDim.x), down1 = share(chosen * a.down.tiles, blockIdx.x + 1, gridDim.x);

  if (warp == WARPS) {
    if (lane > 0) return;
    const u64 once = read_once();
    u32 at = 0, round = 0, asked = 0, behind = 0, behind_round = 0;
    auto fetch = [&](const Matrix& m, u32 from, u32 to) {
      u32 c = from / m.tiles, t = from - c * m.tiles;
#pragma unroll 1
      for (; from < to; from++) {
        if (round > 0) barrier_wait(empties + at * 8, (round - 1) & 1);
        if (asked >= a.flight) {
          barrier_wait(fulls + behind * 8, behind_round & 1);
          if (++behind == a.stages) behind = 0, behind_round++;
        }
        const u64 unit = (u64)(routing.list[c] * m.tiles + t) * m.units;
        barrier_expect(fulls + at * 8, m.units * 544);
        bulk_copy(base + at * a.stage, m.blocks + unit * 512, m.units * 512, fulls + at * 8, once);
        bulk_copy(base + at * a.stage + m.units * 512, m.scales + unit * 32, m.units * 32, fulls + at * 8, once);
        asked++;
        if (++at == a.stages) at = 0, round++;
        if (++t == m.tiles) t = 0, c++;
      }
    };
    fetch(a.up, up0, up1);
    fetch(a.down, down0, down1);
    return;
  }

  u32 at = 0, parity = 0;
  float* sums = (float*)(ring + a.stages * a.stage);
  // The next tile's sums of this warp's units.
  auto tile = [&](const Matrix& m, u32 place) {
    barrier_wait(fulls + at * 8, parity);
    const u32 from = base + at * a.stage;
    uint4 codes[UNITS];
    u32 scales[UNITS / GROUP];
#pragma unroll
    for (u32 j = 0; j < UNITS; j++)
      if (j * WARPS + warp < m.units) codes[j] = shared4(from + (j * WARPS + warp) * 512 + lane * 16);
#pragma unroll
    for (u32 g = 0; g < UNITS / GROUP; g++) {
      const u32 unit = (g * GROUP + q % LANES) * WARPS + warp;  // whose columns this lane's sums are
      scales[g] = unit < m.units ? shared1(from + m.units * 512 + unit * 32 + r * 4) : 0;
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(empties + at * 8);
    if (++at == a.stages) at = 0, parity ^= 1;
    float upper = 0, lower = 0;
#pragma unroll
    for (u32 g = 0; g < UNITS / GROUP; g++) {
      float acc[2][4] = {};  // even columns of the first halves, odd ones of the second
#pragma unroll
      for (u32 i = 0; i < GROUP; i++) {
        const u32 j = g * GROUP + i;
        if (j * WARPS + warp >= m.units) break;
        u32 A[4];
        fp4_operands(A, codes[j].x), mma(acc[0], A[0], A[1], A[2], A[3], x[j][0].x, x[j][0].y);
        fp4_operands(A, codes[j].z), mma(acc[1], A[0], A[1], A[2], A[3], x[j][1].x, x[j][1].y);
        fp4_operands(A, codes[j].y), mma(acc[0], A[0], A[1], A[2], A[3], x[j][0].z, x[j][0].w);
        fp4_operands(A, codes[j].w), mma(acc[1], A[0], A[1], A[2], A[3], x[j][1].z, x[j][1].w);
      }
      upper += acc[0][0] * scale_of(scales[g], 0) + acc[1][1] * scale_of(scales[g], 1);
      lower += acc[0][2] * scale_of(scales[g], 2) + acc[1][3] * scale_of(scales[g], 3);
    }
#pragma unroll
    for (u32 o = 1; o < LANES; o *= 2) {
      upper += __shfl_xor_sync(EVERY_LANE, upper, o);
      lower += __shfl_xor_sync(EVERY_LANE, lower, o);
    }
    if (q % LANES == 0) {
      float* to = sums + ((place * WARPS + warp) * TOKENS + q / LANES) * 16 + r;
      to[0] = upper, to[8] = lower;
    }
  };
  auto sum_of = [&](u32 place, u32 token, u32 row) {
    const float* from = sums + (place * WARPS * TOKENS + token) * 16 + row;
    float sum = from[0];
#pragma unroll
    for (u32 w = 1; w < WARPS; w++) sum += from[w * TOKENS * 16];
    return sum * REST_SCALE;
  };
  struct Item {
    u32 place, token, row, c, tile;
  };
  auto item_of = [&](u32 i, u32 first, u32 rows, u32 tiles) {
    Item item = {i / (TOKENS * rows), i / rows % TOKENS, i % rows};
    item.c = (first + item.place) / tiles, item.tile = first + item.place - item.c * tiles;
    return item;
  };

#pragma unroll 1
  for (u32 first = up0; first < up1; first += a.sums) {
    const u32 n = min(a.sums, up1 - first), items = n * TOKENS * 8;
    auto biases_of = [&](u32 i) {  // of a gate and its up; asked for before they are needed
      const Item item = item_of(i, first, 8, a.up.tiles);
      return *(const u32*)(a.up.bias + (u64)routing.list[item.c] * a.up.rows + item.tile * 16 + item.row * 2);
    };
    const u32 early = threadIdx.x < items ? biases_of(threadIdx.x) : 0;
#pragma unroll 1
    for (u32 i = 0; i < n; i++) tile(a.up, i);
    meet<THREADS>();
#pragma unroll 1
    for (u32 i = threadIdx.x; i < items; i += THREADS) {
      const Item item = item_of(i, first, 8, a.up.tiles);
      const int slot = item.token < a.tokens ? routing.slot_of[item.c][item.token] : -1;
      if (slot < 0) continue;
      const u32 biases = i == threadIdx.x ? early : biases_of(i);
      float gate = rounded(sum_of(item.place, item.token, item.row) + low(biases));
      float up = rounded(sum_of(item.place, item.token, item.row + 8) + high(biases));
      gate = below(gate, a.limit), up = -below(-below(up, a.limit), a.limit);
      const float out = rounded(gate / (1.f + expf(-a.alpha * gate)) * (up + 1.f)) * X_SCALE;
      ((u16*)a.inner)[(u64)(item.token * a.top_k + slot) * (a.down.units * 64) + item.tile * 8 + item.row] = (u16)pack(out, 0.f);
    }
    meet<THREADS>();
  }
  u64 all = 0;
  if (threadIdx.x == 0) all = come(a.arrivals);
  bool waited = false;
  u32 expert = MAX_CHOSEN;  // whose operands there are
#pragma unroll 1
  for (u32 first = down0; first < down1; first += a.sums) {
    const u32 n = min(a.sums, down1 - first), items = n * TOKENS * 16;
    auto bias_of = [&](u32 i) {
      const Item item = item_of(i, first, 16, a.down.tiles);
      const u32 row = item.tile * 16 + item.row;
      return row < a.down.rows ? a.down.bias[(u64)routing.list[item.c] * a.down.rows + row] : (u16)0;
    };
    const u16 early = threadIdx.x < items ? bias_of(threadIdx.x) : 0;
    if (!waited) {
      if (threadIdx.x == 0) await(a.arrivals, all);
      meet<THREADS>();
      waited = true;
    }
#pragma unroll 1
    for (u32 i = 0; i < n; i++) {
      const u32 c = (first + i) / a.down.tiles;
      if (c != expert) {
        expert = c;
        const int slot = token < a.tokens ? routing.slot_of[c][token] : -1;
        operands(a.inner + (u64)(token * a.top_k + max(slot, 0)) * a.down.units * 8, a.down.units, slot >= 0);
      }
      tile(a.down, i);
    }
    meet<THREADS>();
#pragma unroll 1
    for (u32 i = threadIdx.x; i < items; i += THREADS) {
      const Item item = item_of(i, first, 16, a.down.tiles);
      const u32 row = item.tile * 16 + item.row;
      const int slot = item.token < a.tokens ? routing.slot_of[item.c][item.token] : -1;
      if (slot < 0 || row >= a.down.rows) continue;
      const float bias = wide(i == threadIdx.x ? early : bias_of(i));
      a.y[(u64)(slot * a.tokens + item.token) * a.down.rows + row] =
          routing.weight[item.token][slot] * (sum_of(item.place, item.token, item.row) + bias);
    }
    if (first + n < down1) meet<THREADS>();
  }
}

// With 80 registers a thread a block of norm.cu runs beside this one.
extern "C" __global__ void __maxnreg__(80) few_1(const __grid_constant__ Few a) { few<1>(a); }
extern "C" __global__ void __maxnreg__(80) few_2(const __grid_constant__ Few a) { few<2>(a); }
extern "C" __global__ void __maxnreg__(80) few_4(const __grid_constant__ Few a) { few<4>(a); }

#endif
