// All of a layer's experts for some dozens of slots each in one kernel, on Hopper's warpgroup products: gate and up,
// activation, and the way back. Slots are sorted by expert (dispatch.cu).
//
//   inner[slot] = clamped_swiglu(U_e x_token + b_e)
//   y[i][token] = weight * (D_e inner[slot] + c_e) for the token's i-th expert
//
// A multiprocessor takes one block, and of the matrices' quads (64 rows of an expert, for one item of slots) a
// contiguous share. Its item's operands lie in shared memory, all of k. Four warps copy weights into a ring of
// stages, the way back's right behind those of gate and up. GROUPS warpgroups multiply, each every GROUPS-th unit
// of k of every quad; one more adds up what they leave, in their order, and does the rest. Between the two
// matrices all blocks wait for each other, while the ring fills.
//
// `x` and `inner` are stored in the order of k that warpgroup.cuh tells of, times 2^64.
#include "bulk.cuh"
#include "meeting.cuh"
#include "warpgroup.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

constexpr int NT = 3;  // slots of an item at most, by eights
constexpr u32 GROUPS = 4, EACH = 3, UNITS = EACH * GROUPS;  // warpgroups that multiply; units of k in a stage
constexpr u32 TILE_BYTES = UNITS * 512, STAGE_BYTES = 4 * TILE_BYTES, MOST_STAGES = 4;
constexpr u32 MULTIPLYING = GROUPS * 128;  // threads

struct Dozens {
  Matrix up, down;
  const uint4* x;        // bfloat16 (tokens, up.units * 64)
  u16* inner;            // bfloat16 (tokens * top_k, down.units * 64)
  float* y;              // (top_k, tokens, down.rows)
  const int* slots;      // sorted, as the next three
  const int4* items;     // of up to 8 NT slots
  const int* num_items;
  const float* weights;  // (tokens * top_k,)
  u64* arrivals;         // of blocks
  u32 tokens, top_k, stages;
  float alpha, limit;
};

__device__ __forceinline__ u32 quads_of(const Matrix& m) { return (m.tiles + 3) / 4; }
// The warpgroups that multiply wait for each other.
__device__ __forceinline__ void multiplying_meet() { asm volatile("bar.sync 2, %0;" ::"n"(MULTIPLYING) : "memory"); }

constexpr int THREADS = (GROUPS * 4 + 8) * 32;
extern "C" __global__ void __launch_bounds__(THREADS, 1) dozens(const __grid_constant__ Dozens a) {
  constexpr u32 UNIT = NT * 1024;  // bytes of all slots' 64 k
  extern __shared__ __align__(1024) u8 shared[];
  // A stage is filled, and has been read; a quad's sums are there, and have been read.
  __shared__ u64 full[MOST_STAGES], empty[MOST_STAGES], summed, free, met;
  __shared__ __align__(16) u16 staged[NT * 8][32];  // a quad's part of `inner`
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, tile = warp & 3;
  const u32 operands = (shared_address(shared) + 1023) & ~1023u;  // [unit][slot][8 pieces]
  const u32 sums = operands + max(a.up.units, a.down.units) * UNIT;  // [warpgroup][eight slots][thread][4]
  const u32 ring = sums + GROUPS * NT * 2048;                        // [stage][tile][unit]: codes
  const u32 most = max(a.up.units, a.down.units);
  const u32 scales_at = ring + a.stages * STAGE_BYTES;  // [one quad or the next][tile][unit]
  u32 fulls = shared_address(full), empties = shared_address(empty);
  asm volatile("" : "+r"(fulls), "+r"(empties));  // or they would be made anew at each use
  if (threadIdx.x < a.stages) barrier_init(fulls + threadIdx.x * 8, 4), barrier_init(empties + threadIdx.x * 8, GROUPS * 4);
  if (threadIdx.x == 0) {
    barrier_init(shared_address(&summed), GROUPS * 4), barrier_init(shared_address(&free), 4);
    barrier_init(shared_address(&met), 1);
  }
  barriers_ready();
  __syncthreads();
  dep_go();
  dep_wait();
  const u32 items = *a.num_items;
  if (items == 0) return;  // in all blocks
  const u32 up_quads = quads_of(a.up), down_quads = quads_of(a.down);
  // Quads, all of an item before the next one's.
  const u32 up0 = share(items * up_quads, blockIdx.x, gridDim.x), up1 = share(items * up_quads, blockIdx.x + 1, gridDim.x);
  const u32 down0 = share(items * down_quads, blockIdx.x, gridDim.x), down1 = share(items * down_quads, blockIdx.x + 1, gridDim.x);

  if (warp >= GROUPS * 4 + 4) {
    // A warp copies a tile's codes, and with the first of a quad's stages all of its scales. Those of the quad
    // before the last are read by then: there are no more stages in the ring than a quad has and one.
    if (lane > 0) return;
    const u64 once = read_once();
    const u32 place = ring + tile * TILE_BYTES;
    u32 at = 0, parity = 1, other = 0;
    auto feed = [&](const Matrix& m, u32 from, u32 to, u32 quads) {
      const u32 scales = scales_at + tile * (m.units * 32);
      u32 c = from / quads, t = from - c * quads;
      int expert = from < to ? a.items[c].x : 0;
#pragma unroll 1
      for (; from < to; from++, t++, other ^= 1) {
        if (t == quads) t = 0, expert = a.items[++c].x;
        const bool is_tile = t * 4 + tile < m.tiles;
        const u64 first = (u64)(expert * m.tiles + t * 4 + tile) * m.units;
        const u8* codes = m.blocks + first * 512;
#pragma unroll 1
        for (u32 unit = 0; unit < m.units; unit += UNITS, codes += UNITS * 512) {
          const u32 bytes = min(UNITS, m.units - unit) * 512, full_at = fulls + at * 8;
          barrier_wait(empties + at * 8, parity);
          if (is_tile) {
            barrier_expect(full_at, bytes + (unit ? 0 : m.units * 32));
            bulk_copy(place + at * STAGE_BYTES, codes, bytes, full_at, once);
            if (unit == 0) bulk_copy(scales + other * (most * 128), m.scales + first * 32, m.units * 32, full_at, once);
          } else {
            barrier_arrive(full_at);
          }
          if (++at == a.stages) at = 0, parity ^= 1;
        }
      }
    };
    feed(a.up, up0, up1, up_quads);
    feed(a.down, down0, down1, down_quads);
    return;
  }

  if (warp < GROUPS * 4) {
    const u32 group = warp >> 2, r = lane >> 2;
    const u32 first_operand = operand_low(operands);
    u32 at = 0, parity = 0, sums_parity = 1, other = 0;
    const u32 mine = sums + group * (NT * 2048) + (threadIdx.x & 127) * 16;
    const u32 place = ring + tile * TILE_BYTES + group * 512 + lane * 16;
#pragma unroll 1
    for (int way = 0; way < 2; way++) {
      const u32 units = way ? a.down.units : a.up.units, quads = way ? down_quads : up_quads;
      const u32 first = way ? down0 : up0;
      u32 left = (way ? down1 : up1) - first, c = first / quads, of_item = min(left, quads - (first - c * quads));
      if (way) barrier_wait(shared_address(&met), 0);
#pragma unroll 1
      for (; left > 0; of_item = min(left, quads), c++) {
        left -= of_item;
        // The item's operands; columns beyond its slots are as good as any.
        const int4 item = a.items[c];
        multiplying_meet();  // nobody needs the former ones
        for (u32 column = warp; column < item.z; column += GROUPS * 4) {
          const u32 slot = a.slots[item.y + column];
          const uint4* row = way ? (const uint4*)a.inner + (u64)slot * (units * 8) : a.x + (u64)(slot / a.top_k) * (units * 8);
          for (u32 i = lane; i < units * 8; i += 32)
            copy16(operands + (i >> 3) * UNIT + column * 128 + ((i ^ column) & 7) * 16, row + i);
        }
        copies_end();
        copies_wait<0>();
        operands_ready();
        multiplying_meet();
#pragma unroll 1
        for (u32 i = 0; i < of_item; i++, other ^= 1) {
          float acc[NT][4] = {};
          hold(acc);
          u32 A[2][2][4];
          u32 scales = scales_at + other * (most * 128) + tile * (units * 32) + group * 32 + r * 4;
          u32 b = first_operand + group * (UNIT / 16);
          auto multiply = [&](const uint4& w, u32 s, u32 b) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
              mma_wait<1>();  // the products that read these registers
              if (half) expand<1>(A[1], w.z, w.w, s);
              else expand<0>(A[0], w.x, w.y, s);
              mma_fence();
              // The same in all lanes, as the compiler learns by this: descriptors need no registers of lanes then.
              if (!half) b = __reduce_min_sync(EVERY_LANE, b);
              warpgroup_mma(acc, A[half][0], operand_at(b + half * 4));
              warpgroup_mma(acc, A[half][1], operand_at(b + half * 4 + 2));
              mma_commit();
            }
          };
#pragma unroll 1
          for (u32 unit = group; unit < units + group; unit += UNITS) {
            barrier_wait(fulls + at * 8, parity);
            uint4 w[EACH];
            u32 s[EACH];
#pragma unroll
            for (u32 j = 0; j < EACH; j++) {
              w[j] = shared4(place + at * STAGE_BYTES + j * (GROUPS * 512));
              s[j] = shared1(scales + j * (GROUPS * 32));
            }
            scales += UNITS * 32;
            __syncwarp();
            if (lane == 0) barrier_arrive(empties + at * 8);
            if (++at == a.stages) at = 0, parity ^= 1;
#pragma unroll
            for (u32 j = 0; j < EACH; j++)
              if (unit + j * GROUPS < units) multiply(w[j], s[j], b + j * (GROUPS * UNIT / 16));
            b += UNITS * (UNIT / 16);
          }
          hold(acc);
          mma_wait<0>();
          hold(acc);
          barrier_wait(shared_address(&free), sums_parity), sums_parity ^= 1;
#pragma unroll
          for (int t = 0; t < NT; t++)
            asm volatile("st.shared.v4.f32 [%0],{%1,%2,%3,%4};" ::"r"(mine + t * 2048), "f"(acc[t][0]), "f"(acc[t][1]), "f"(acc[t][2]), "f"(acc[t][3]) : "memory");
          __syncwarp();
          if (lane == 0) barrier_arrive(shared_address(&summed));
        }
      }
    }
    return;
  }

  const u32 r = lane >> 2, q = lane & 3, mine = threadIdx.x & 127;
  u32 parity = 0;
  float sum[NT][4];
  auto add_up = [&] {
    barrier_wait(shared_address(&summed), parity), parity ^= 1;
#pragma unroll
    for (int t = 0; t < NT; t++) {
#pragma unroll
      for (u32 g = 0; g < GROUPS; g++) {
        const uint4 v = shared4(sums + g * (NT * 2048) + t * 2048 + mine * 16);
        const float part[4] = {__uint_as_float(v.x), __uint_as_float(v.y), __uint_as_float(v.z), __uint_as_float(v.w)};
#pragma unroll
        for (int i = 0; i < 4; i++) sum[t][i] = g ? sum[t][i] + part[i] : part[i];
      }
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(shared_address(&free));
  };
  {
    const u32 limit = pack(a.limit, a.limit), to = shared_address(staged) + place_of(tile * 8 + r) * 2;
    u32 c = up0 / up_quads, t = up0 - c * up_quads;
    int4 item = up0 < up1 ? a.items[c] : int4{};
#pragma unroll 1
    for (u32 i = up0; i < up1; i++, t++) {
      if (t == up_quads) t = 0, item = a.items[++c];
      const bool is_tile = t * 4 + tile < a.up.tiles;
      const u32 biases = is_tile ? *(const u32*)(a.up.bias + (u64)item.x * a.up.rows + (t * 4 + tile) * 16 + r * 2) : 0;
      add_up();
#pragma unroll
      for (int e = 0; e < NT; e++) {
        const u32 gates = pack(sum[e][0] * REST_SCALE + low(biases), sum[e][1] * REST_SCALE + low(biases));
        const u32 ups = pack(sum[e][2] * REST_SCALE + high(biases), sum[e][3] * REST_SCALE + high(biases));
        put_pair(to + (e * 8 + 2 * q) * 64, 64, is_tile ? swiglu(gates, ups, a.alpha, limit) : 0);
      }
      meet<128>();
      for (u32 p = mine; p < item.z * 4; p += 128) {
        const u32 slot = a.slots[item.y + p / 4];
        *(uint4*)(a.inner + (u64)slot * (a.down.units * 64) + t * 32 + p % 4 * 8) = *(const uint4*)&staged[p / 4][p % 4 * 8];
      }
      meet<128>();
    }
  }
  meet<128>();
  if (mine == 0) {
    await(a.arrivals, come(a.arrivals));
    barrier_arrive(shared_address(&met));
  }
  u32 c = down0 / down_quads, t = down0 - c * down_quads;
  float* to[NT][2];  // of this thread's slots, null where there is none
  float weight[NT][2];
  int expert = 0;
  bool begins = true;
#pragma unroll 1
  for (u32 i = down0; i < down1; i++, t++) {
    if (t == down_quads) t = 0, c++, begins = true;
    if (begins) {
      const int4 item = a.items[c];
      expert = item.x, begins = false;
#pragma unroll
      for (int e = 0; e < NT; e++)
#pragma unroll
        for (u32 j = 0; j < 2; j++) {
          const u32 place = e * 8 + 2 * q + j;
          to[e][j] = nullptr;
          if (place >= item.z) continue;
          const u32 slot = a.slots[item.y + place], token = slot / a.top_k;
          to[e][j] = a.y + ((u64)(slot - token * a.top_k) * a.tokens + token) * a.down.rows;
          weight[e][j] = a.weights[slot];
        }
    }
    const u32 row = (t * 4 + tile) * 16 + r;
    const u16* biases = a.down.bias + (u64)expert * a.down.rows + row;
    const float upper = row < a.down.rows ? wide(biases[0]) : 0.f, lower = row + 8 < a.down.rows ? wide(biases[8]) : 0.f;
    add_up();
#pragma unroll
    for (int e = 0; e < NT; e++)
#pragma unroll
      for (int j = 0; j < 2; j++) {
        if (!to[e][j]) continue;
        if (row < a.down.rows) to[e][j][row] = weight[e][j] * (sum[e][j] * REST_SCALE + upper);
        if (row + 8 < a.down.rows) to[e][j][row + 8] = weight[e][j] * (sum[e][j + 2] * REST_SCALE + lower);
      }
  }
}

#endif
