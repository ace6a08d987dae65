// All of a layer's experts for one to some dozens of tokens in one kernel, on Hopper: gate and up, activation, and
// the way back, so that weights come without a pause. Slots are sorted by expert (dispatch.cu), or, of up to 8
// tokens, every block finds by itself what the router has chosen.
//
//   inner[slot] = clamped_swiglu(U_e x_token + b_e)
//   y[i][token] = weight * (D_e inner[slot] + c_e) for the token's i-th expert
//
// A multiprocessor takes one block, whose warps have three parts. One copies weights, tile by tile (16 rows),
// into a ring of stages in shared memory, those of the way back right behind those of gate and up. 15 share a
// tile's units, with their slots' operands in registers; 4 add up what those leave, in the order of the warps,
// and do the rest. Between the two matrices all blocks wait for each other, while the ring fills.
//
// What bounds it beside memory is the number of integer instructions on the way from codes to operands. So
// scales, which are powers of two, are multiplied to the sums of 32 products, as the exponents that they are.
#include "bulk.cuh"
#include "experts.cuh"
#include "meeting.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr u32 WARPS = 15, UNITS = 3;  // a warp takes every 15th unit of a tile, 3 at most
constexpr u32 SUMMING = 4, MOST_STAGES = 16;  // warps that add up, tiles in shared memory
constexpr float REST = 4611686018427387904.f;  // 2^62: codes are their values times 2^-126, operands times 2^64

struct Several {
  Matrix up, down;
  const uint4* x;        // bfloat16 times 2^64 (tokens, up.units * 64)
  uint4* inner;          // bfloat16 times 2^64 (tokens * top_k, down.units * 64)
  float* y;              // (top_k, tokens, down.rows)
  const int* slots;      // sorted, as the next three
  const int4* items;     // of up to 8 NT slots
  const int* num_items;
  const float* weights;  // (tokens * top_k,)
  const float* logits;   // (tokens, experts), for blocks that choose, as `positions`
  const int* positions;  // (tokens,), negative where there is no token
  u64* arrivals;         // of blocks
  u32 tokens, experts, top_k, stages, stage, flight;  // stage: bytes
  float alpha, limit;
};

template <int N>
struct Is {
  static constexpr int value = N;
};

// One of four scales s as 2^(s - 127).
__device__ __forceinline__ float power(u32 scales, int which) {
  return __uint_as_float((which < 3 ? scales << (23 - 8 * which) : scales >> 1) & 0x7F800000u);
}

// A warp's units of a tile, `count` of them, times 8 NT slots: acc = weights . x / REST. Codes begin at `codes`,
// scales at `scales`, in shared memory. ALL: count is UNITS.
template <bool ALL, int NT, int MOST>
__device__ __forceinline__ void units_of(float (&acc)[NT][4], u32 codes, u32 scales, const uint4 (&x)[MOST][UNITS][2], u32 count) {
#pragma unroll
  for (int t = 0; t < NT; t++)
#pragma unroll
    for (int i = 0; i < 4; i++) acc[t][i] = 0;
  if (!ALL && count == 0) return;
  uint4 next = shared4(codes);
  u32 next_scales = shared1(scales);
#pragma unroll
  for (u32 j = 0; j < UNITS; j++) {
    const uint4 now = next;
    const u32 s = next_scales;
    const bool last = j + 1 == UNITS || (!ALL && j + 1 == count);
    if (!last) next = shared4(codes + (j + 1) * (WARPS * 512)), next_scales = shared1(scales + (j + 1) * (WARPS * 32));
#pragma unroll
    for (int h = 0; h < 2; h++) {
      u32 A[4], B[4];
      fp4_operands(A, h ? now.z : now.x), fp4_operands(B, h ? now.w : now.y);
      const float above = power(s, h), below = power(s, 2 + h);
#pragma unroll
      for (int t = 0; t < NT; t++) {
        float c[4];
        mma_first(c, A[0], A[1], A[2], A[3], x[t][j][h].x, x[t][j][h].y);
        mma(c, B[0], B[1], B[2], B[3], x[t][j][h].z, x[t][j][h].w);
        acc[t][0] += c[0] * above, acc[t][1] += c[1] * above, acc[t][2] += c[2] * below, acc[t][3] += c[3] * below;
      }
    }
    if (last) break;
  }
}

// NT: slots of an item by eights. CHOOSES: an item is an expert, and its slots are the tokens, in it or not.
template <int NT, bool CHOOSES>
__device__ __forceinline__ void several(const Several& a) {
  constexpr u32 SUMS = WARPS * NT * 128;  // floats of a tile's
  // [stage][a tile's codes, then scales], then [stage][warp][eight slots][row][slot]: its sums.
  extern __shared__ __align__(128) u8 ring[];
  // A stage is filled, its sums are there, and they have been read.
  __shared__ u64 full[MOST_STAGES], done[MOST_STAGES], empty[MOST_STAGES], met;
  __shared__ Routing routing;  // of blocks that choose
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  const u32 base = shared_address(ring), fulls = shared_address(full);
  const u32 dones = shared_address(done), empties = shared_address(empty);
  float* sums = (float*)(ring + a.stages * a.stage);
  if (threadIdx.x < a.stages) {
    const u32 at = threadIdx.x * 8;
    barrier_init(fulls + at, 1), barrier_init(dones + at, WARPS), barrier_init(empties + at, SUMMING);
  }
  if (threadIdx.x == 0) barrier_init(shared_address(&met), 1);
  barriers_ready();
  const bool first_is_there = CHOOSES && a.positions[0] >= 0;  // known for long
  if (CHOOSES) routing.clear();
  __syncthreads();
  dep_go();
  dep_wait();
  // Operands of the slots r, r + 8...: of the warp's units, both halves.
  uint4 x[NT][UNITS][2];
  auto load = [&](uint4 (&to)[UNITS][2], const uint4* row, u32 units, bool there) {
#pragma unroll
    for (u32 j = 0; j < UNITS; j++)
#pragma unroll
      for (u32 h = 0; h < 2; h++) {
        const u32 unit = j * WARPS + warp;
        to[j][h] = there && unit < units ? fresh(row + unit * 8 + h * 4 + q) : zero4();
      }
  };
  if (CHOOSES) {  // columns of tokens that an expert does not get are as good as any
    if (warp < WARPS) load(x[0], a.x + (u64)r * (a.up.units * 8), a.up.units, r < a.tokens);
    routing.find(a, first_is_there);
  }
  const u32 items = CHOOSES ? routing.chosen : *a.num_items;
  if (items == 0) return;  // in all blocks
  auto expert_of = [&](u32 item) { return CHOOSES ? (int)routing.list[item] : a.items[item].x; };
  auto slot_of = [&](u32 item, u32 place) {  // -1: none
    if (CHOOSES) {
      const int i = place < a.tokens ? routing.slot_of[item][place] : -1;
      return i < 0 ? -1 : (int)(place * a.top_k) + i;
    }
    const int4 one = a.items[item];
    return place < one.z ? a.slots[one.y + place] : -1;
  };
  // Tiles, all of an item before the next one's.
  const u32 up0 = share(items * a.up.tiles, blockIdx.x, gridDim.x), up1 = share(items * a.up.tiles, blockIdx.x + 1, gridDim.x);
  const u32 down0 = share(items * a.down.tiles, blockIdx.x, gridDim.x), down1 = share(items * a.down.tiles, blockIdx.x + 1, gridDim.x);

  if (warp == WARPS) {
    if (lane > 0) return;
    const u64 once = read_once();
    u32 at = 0, round = 0, asked = 0, behind = 0, behind_round = 0;
#pragma unroll 1
    for (int way = 0; way < 2; way++) {
      const Matrix& m = way ? a.down : a.up;
      u32 from = way ? down0 : up0, c = from / m.tiles, t = from - c * m.tiles;
      const u32 to = way ? down1 : up1;
      int expert = from < to ? expert_of(c) : 0;
#pragma unroll 1
      for (; from < to; from++, t++) {
        if (t == m.tiles) t = 0, expert = expert_of(++c);
        if (round > 0) barrier_wait(empties + at * 8, (round - 1) & 1);
        if (asked >= a.flight) {  // what else is loaded would queue behind more
          barrier_wait(fulls + behind * 8, behind_round & 1);
          if (++behind == a.stages) behind = 0, behind_round++;
        }
        const u64 unit = (u64)(expert * m.tiles + t) * m.units;
        barrier_expect(fulls + at * 8, m.units * 544);
        bulk_copy(base + at * a.stage, m.blocks + unit * 512, m.units * 512, fulls + at * 8, once);
        bulk_copy(base + at * a.stage + m.units * 512, m.scales + unit * 32, m.units * 32, fulls + at * 8, once);
        asked++;
        if (++at == a.stages) at = 0, round++;
      }
    }
    return;
  }

  if (warp < WARPS) {
    u32 at = 0, parity = 0;
#pragma unroll 1
    for (int way = 0; way < 2; way++) {
      const u32 units = way ? a.down.units : a.up.units, tiles = way ? a.down.tiles : a.up.tiles;
      const u32 count = units > warp ? (units - warp + WARPS - 1) / WARPS : 0;
      const u32 codes = base + warp * 512 + lane * 16, scales = base + units * 512 + warp * 32 + r * 4;
      const u32 first = way ? down0 : up0;
      u32 left = (way ? down1 : up1) - first, c = first / tiles, of_item = min(left, tiles - (first - c * tiles));
      if (way) barrier_wait(shared_address(&met), 0);
#pragma unroll 1
      for (; left > 0; of_item = min(left, tiles), c++) {
        if (!CHOOSES || way) {
#pragma unroll
          for (int e = 0; e < NT; e++) {
            const int slot = slot_of(c, e * 8 + r);
            const u32 from = way ? max(slot, 0) : max(slot, 0) / a.top_k;
            load(x[e], (way ? a.inner : a.x) + (u64)from * (units * 8), units, slot >= 0);
          }
        }
        auto tiles_of = [&](auto whole, auto eights) {
          constexpr int N = eights.value;
#pragma unroll 1
          for (u32 i = 0; i < of_item; i++) {
            barrier_wait(fulls + at * 8, parity);
            float acc[N][4];
            units_of<whole.value>(acc, codes + at * a.stage, scales + at * a.stage, x, count);
            float* to = sums + at * SUMS + warp * (NT * 128) + lane * 2;  // row r, slots 2 q and 2 q + 1
#pragma unroll
            for (int e = 0; e < N; e++) {
              *(float2*)(to + e * 128) = make_float2(acc[e][0], acc[e][1]);
              *(float2*)(to + e * 128 + 64) = make_float2(acc[e][2], acc[e][3]);
            }
            __syncwarp();
            if (lane == 0) barrier_arrive(dones + at * 8);
            if (++at == a.stages) at = 0, parity ^= 1;
          }
        };
        left -= of_item;
        const bool whole = count == UNITS;
        if (NT == 1 || a.items[c].z <= 8) {
          whole ? tiles_of(Is<1>{}, Is<1>{}) : tiles_of(Is<0>{}, Is<1>{});
        } else {
          whole ? tiles_of(Is<1>{}, Is<NT>{}) : tiles_of(Is<0>{}, Is<NT>{});
        }
      }
    }
    return;
  }

  const u32 mine = threadIdx.x - (WARPS + 1) * 32;
  u32 at = 0, parity = 0;
  auto sum_of = [&](u32 eight, u32 row, u32 slot) {
    const float* from = sums + at * SUMS + eight * 128 + row * 8 + slot;
    float sum = from[0];
#pragma unroll
    for (u32 w = 1; w < WARPS; w++) sum += from[w * (NT * 128)];
    return sum * REST;
  };
  auto is_read = [&] {
    __syncwarp();
    if (lane == 0) barrier_arrive(empties + at * 8);
    if (++at == a.stages) at = 0, parity ^= 1;
  };
  {
    const u32 place = mine / 64 * 8 + mine % 8, row = mine / 8 % 8;
    u32 c = up0 / a.up.tiles, t = up0 - c * a.up.tiles;
    int expert = 0, slot = -1;
    bool begins = true;
#pragma unroll 1
    for (u32 i = up0; i < up1; i++, t++) {
      if (t == a.up.tiles) t = 0, c++, begins = true;
      if (begins) expert = expert_of(c), slot = place < NT * 8 ? slot_of(c, place) : -1, begins = false;
      // Of a gate and its up; asked for before they are needed.
      const u32 biases = slot < 0 ? 0 : *(const u32*)(a.up.bias + (u64)expert * a.up.rows + t * 16 + row * 2);
      barrier_wait(dones + at * 8, parity);
      float gate = 0, up = 0;
      if (slot >= 0) gate = sum_of(place / 8, row, place % 8), up = sum_of(place / 8, row + 8, place % 8);
      is_read();
      if (slot < 0) continue;
      gate = below(rounded(gate + low(biases)), a.limit), up = -below(-below(rounded(up + high(biases)), a.limit), a.limit);
      const float out = rounded(gate / (1.f + expf(-a.alpha * gate)) * (up + 1.f)) * X_SCALE;
      ((u16*)a.inner)[(u64)slot * (a.down.units * 64) + t * 8 + row] = (u16)pack(out, 0.f);
    }
  }
  meet<SUMMING * 32>();
  if (mine == 0) {
    await(a.arrivals, come(a.arrivals));
    barrier_arrive(shared_address(&met));
  }
  const u32 row = mine / 8;
  u32 c = down0 / a.down.tiles, t = down0 - c * a.down.tiles;
  int expert = 0;
  float* to[NT];  // of this thread's row, null where there is no slot
  float weight[NT];
  bool begins = true;
#pragma unroll 1
  for (u32 i = down0; i < down1; i++, t++) {
    if (t == a.down.tiles) t = 0, c++, begins = true;
    if (begins) {
      expert = expert_of(c), begins = false;
#pragma unroll
      for (int e = 0; e < NT; e++) {
        const int slot = slot_of(c, e * 8 + mine % 8);
        to[e] = nullptr;
        if (slot < 0) continue;
        const u32 token = slot / a.top_k, i = slot - token * a.top_k;
        to[e] = a.y + ((u64)i * a.tokens + token) * a.down.rows + row;
        weight[e] = CHOOSES ? routing.weight[token][i] : a.weights[slot];
      }
    }
    const bool is_row = t * 16 + row < a.down.rows;
    const float bias = is_row ? wide(a.down.bias[(u64)expert * a.down.rows + t * 16 + row]) : 0.f;
    barrier_wait(dones + at * 8, parity);
    float sum[NT];
#pragma unroll
    for (int e = 0; e < NT; e++) sum[e] = to[e] ? sum_of(e, row, mine % 8) : 0;
    is_read();
#pragma unroll
    for (int e = 0; e < NT; e++)
      if (to[e] && is_row) to[e][t * 16] = weight[e] * (sum[e] + bias);
  }
}

extern "C" __global__ void __launch_bounds__(640, 1) several_choosing_8(const __grid_constant__ Several a) { several<1, true>(a); }
extern "C" __global__ void __launch_bounds__(640, 1) several_8(const __grid_constant__ Several a) { several<1, false>(a); }
extern "C" __global__ void __launch_bounds__(640, 1) several_16(const __grid_constant__ Several a) { several<2, false>(a); }

#endif
