// Expert matrices times some tokens, on Hopper's warpgroup products: what counts is that weights, read once
// for up to 64 slots of an expert (dispatch.cu), come as fast as memory gives them.
//
//   up:   inner[slot] = clamped_swiglu(W_e x_token + b_e)
//   down: y[i][token] = weight * (W_e inner[slot] + b_e) for the token's i-th expert
//
// Work is a line: all tiles of 16 rows of the first item, then those of the next. Each block takes an equal
// share of it and goes through it group by group, a group being up to one tile a warp of one item. Weights and
// the slots' operands come through a ring in shared memory, some units of k at a time; a warp asks for
// the former, by the copy engine, and another one copies the latter. Both run ahead across the ends of groups,
// so that enough weights are on their way all the time.
//
// `x` and `inner` are stored in the order of k that warpgroup.cuh tells of, times 2^64.
#include "bulk.cuh"
#include "warpgroup.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// How a kernel is cut: 8 slots times TILES an item at most, warps that multiply, units of k that have a stage of
// the ring, and stages.
template <int TILES_, int WARPS_, int CHUNK_, int STAGES_>
struct Cut {
  static constexpr int TILES = TILES_, WARPS = WARPS_;
  static constexpr u32 SLOTS = TILES * 8, CHUNK = CHUNK_, STAGES = STAGES_;
  static constexpr u32 FLIGHT = STAGES - 2;  // stages of operands on their way, while two may be in use
  static constexpr u32 X_UNIT = SLOTS * 128, W_BYTES = CHUNK * 512, S_BYTES = CHUNK * 32;
  static constexpr u32 WORDS = CHUNK * X_UNIT, SCALES = WORDS + WARPS * W_BYTES;  // where they begin in a stage
  static constexpr u32 BYTES = (SCALES + WARPS * S_BYTES + 1023) / 1024 * 1024;
};

struct Narrow {
  const uint4* blocks;   // relaid: (experts, tiles, units, 32 lanes)
  const u32* scales;     // relaid: (experts, tiles, units, 8 pairs of rows)
  const u16* bias;       // bfloat16 (experts, rows)
  const uint4* x;        // up (tokens, units * 64), down (tokens * top_k, units * 64)
  void* y;               // up: like x, (tokens * top_k, out_stride); down: float (top_k, tokens, rows)
  const int* slots;
  const int4* items;
  const int* num_items;
  const float* weights;  // (tokens * top_k,), for down
  u32 tokens, top_k, tiles, units, rows, out_stride;
  float alpha, limit;
};

// Neighbouring tiles of an item, one for each of the first `size` warps.
struct Group {
  int4 item;
  u32 tile, size;
};

// What a block does next of its share [at, end) of the line. What is left of an item is cut evenly.
template <int WARPS>
__device__ __forceinline__ Group group_at(const Narrow& a, u32 at, u32 end) {
  const u32 i = at / a.tiles, tile = at - i * a.tiles, left = min(end - at, a.tiles - tile);
  const u32 groups = (left + WARPS - 1) / WARPS;
  return {a.items[i], tile, (left + groups - 1) / groups};
}

// Where in the ring somebody is: the stage's place, its barriers, and the parity of their phase.
template <typename C>
struct Stage {
  u32 at, full, parity = 0, left = C::STAGES;
  __device__ __forceinline__ Stage(u32 ring, u32 barriers) : at(ring), full(barriers) {}
  __device__ __forceinline__ u32 free() const { return full + C::STAGES * 8; }
  __device__ __forceinline__ void advance() {
    at += C::BYTES, full += 8;
    if (--left == 0) at -= C::STAGES * C::BYTES, full -= C::STAGES * 8, left = C::STAGES, parity ^= 1;
  }
};

// The warp that asks for weights: a lane for each tile of the group.
template <typename C>
__device__ __forceinline__ void ask(const Narrow& a, u32 at, u32 end, Stage<C> stage) {
  const u32 lane = threadIdx.x & 31, U = a.units;
  const u64 once = read_once();
  while (at < end) {
    const Group group = group_at<C::WARPS>(a, at, end);
    const u64 unit = (u64)(group.item.x * a.tiles + group.tile + lane) * U;
    const uint4* pw = a.blocks + unit * 32;
    const u32* ps = a.scales + unit * 8;
    at += group.size;
#pragma unroll 1
    for (u32 u = 0; u < U; u += C::CHUNK) {
      const u32 n = min(U - u, C::CHUNK);
      barrier_wait(stage.free(), stage.parity ^ 1);
      if (lane == 0) barrier_expect(stage.full, group.size * n * 544);
      __syncwarp();
      if (lane < group.size) {
        bulk_copy(stage.at + C::WORDS + lane * C::W_BYTES, pw, n * 512, stage.full, once);
        bulk_copy(stage.at + C::SCALES + lane * C::S_BYTES, ps, n * 32, stage.full, once);
      }
      pw += n * 32, ps += n * 8;
      stage.advance();
    }
  }
}

// The warp that copies operands, of all slots of the group's item.
template <bool UP, typename C>
__device__ __forceinline__ void feed(const Narrow& a, u32 at, u32 end, Stage<C> stage) {
  constexpr u32 PIECES = C::SLOTS / 4;  // of a lane in a unit: every fourth slot
  const u32 lane = threadIdx.x & 31, first = lane / 8, piece = lane % 8, U = a.units;
  const u32 to[2] = {first * 128 + (piece ^ first) * 16, (first + 4) * 128 + (piece ^ first + 4) * 16};
  Stage<C> told = stage;
  u32 untold = 0;
  auto tell = [&]() {
    operands_ready();
    barrier_arrive(told.full);
    told.advance(), untold--;
  };
  while (at < end) {
    const Group group = group_at<C::WARPS>(a, at, end);
    const u32 slots = group.item.z;
    at += group.size;
    const uint4* px[PIECES];
#pragma unroll
    for (u32 j = 0; j < PIECES; j++) {
      if (4 * j >= slots) continue;
      const u32 slot = a.slots[group.item.y + min(first + 4 * j, slots - 1)];
      px[j] = a.x + (u64)(UP ? slot / a.top_k : slot) * (U * 8) + piece;
    }
#pragma unroll 1
    for (u32 u = 0; u < U; u += C::CHUNK) {
      barrier_wait(stage.free(), stage.parity ^ 1);
#pragma unroll
      for (u32 j = 0; j < PIECES; j++) {
        if (4 * j >= slots) continue;
        const u32 there = stage.at + to[j % 2] + j / 2 * 1024;
#pragma unroll
        for (u32 i = 0; i < C::CHUNK; i++)
          if (u + i < U) copy16(there + i * C::X_UNIT, px[j] + i * 8);
        px[j] += C::CHUNK * 8;
      }
      copies_end();
      stage.advance();
      if (++untold > C::FLIGHT) copies_wait<C::FLIGHT>(), tell();
    }
  }
  copies_wait<0>();
  while (untold) tell();
}

// A warp of a warpgroup.
template <bool UP, typename C>
__device__ __forceinline__ void multiply(const Narrow& a, u32 warp, u32 at, u32 end, Stage<C> stage) {
  const u32 lane = threadIdx.x & 31, r = lane >> 2, q = lane & 3, U = a.units;
  // Where two lanes have the same columns of neighbouring rows, one writes both rows of the first column, the
  // other of the second one: `odd` says which.
  const u32 odd = r & 1, limit = pack(a.limit, a.limit);
#pragma unroll 1
  while (at < end) {
    const Group group = group_at<C::WARPS>(a, at, end);
    const u32 tile = group.tile + warp;
    const bool works = warp < group.size;  // else it only keeps step, with what happens to be there
    at += group.size;
    u32 slot[C::TILES];
#pragma unroll
    for (u32 t = 0; t < C::TILES; t++) slot[t] = a.slots[group.item.y + min(t * 8 + 2 * q + odd, (u32)group.item.z - 1)];
    const u16* bias = a.bias + (u64)group.item.x * a.rows + (works ? tile * 16 : 0);
    const float b0 = wide(bias[UP ? 2 * r : r]), b1 = wide(bias[UP ? 2 * r + 1 : r + 8]);
    float acc[C::TILES][4] = {};
    hold(acc);
    u32 A[2][2][4], before = 0;
#pragma unroll 1
    for (u32 first = 0; first < U; first += C::CHUNK) {
      barrier_wait(stage.full, stage.parity);
      uint4 word[C::CHUNK];
      u32 scale[C::CHUNK];
#pragma unroll
      for (u32 i = 0; i < C::CHUNK; i++) {  // beyond the last unit: what was there before, for nobody
        word[i] = shared4(stage.at + C::WORDS + warp * C::W_BYTES + i * 512 + lane * 16);
        scale[i] = shared1(stage.at + C::SCALES + warp * C::S_BYTES + i * 32 + r * 4);
      }
      const u64 operands = operand(stage.at);
#pragma unroll
      for (u32 i = 0; i < C::CHUNK; i++) {
        if (first + i >= U) continue;
        const u64 b = operands + i * C::X_UNIT / 16;
        const u32 w[4] = {word[i].x, word[i].y, word[i].z, word[i].w}, s = scale[i];
#pragma unroll
        for (int half = 0; half < 2; half++) {
          mma_wait<1>();  // the products that read these registers
          if (half) expand<1>(A[1], w[2], w[3], s);
          else expand<0>(A[0], w[0], w[1], s);
          mma_fence();
          warpgroup_mma(acc, A[half][0], b + half * 4);
          warpgroup_mma(acc, A[half][1], b + half * 4 + 2);
          mma_commit();
        }
        // No product but those of this unit is on its way.
        if (i == 0 && first > 0 && lane == 0) barrier_arrive(before);
      }
      before = stage.free();
      stage.advance();
    }
    hold(acc);
    mma_wait<0>();
    hold(acc);
    if (lane == 0) barrier_arrive(before);
    if (!works) continue;
#pragma unroll
    for (u32 t = 0; t < C::TILES; t++) {
      if (t * 8 >= group.item.z) break;
      float v[4];
#pragma unroll
      for (int c = 0; c < 4; c++) v[c] = acc[t][c] * REST_SCALE + (c < 2 ? b0 : b1);
      const bool there = t * 8 + 2 * q + odd < group.item.z;
      if (UP) {
        const u32 row = swiglu(pack(v[0], v[1]), pack(v[2], v[3]), a.alpha, limit), other = __shfl_xor_sync(EVERY_LANE, row, 4);
        const u32 pair = odd ? __byte_perm(other, row, 0x7632) : __byte_perm(row, other, 0x5410);
        if (there) *(u32*)((u16*)a.y + (u64)slot[t] * a.out_stride + place_of(tile * 8 + r - odd)) = pair;
      } else {
        const u32 token = slot[t] / a.top_k;
        const float weight = a.weights[slot[t]];
        const float upper = __shfl_xor_sync(EVERY_LANE, odd ? v[0] : v[1], 4);
        const float lower = __shfl_xor_sync(EVERY_LANE, odd ? v[2] : v[3], 4);
        float* y = (float*)a.y + ((u64)(slot[t] - token * a.top_k) * a.tokens + token) * a.rows + tile * 16 + r - odd;
        if (!there) continue;
        *(float2*)y = odd ? make_float2(weight * upper, weight * v[1]) : make_float2(weight * v[0], weight * upper);
        *(float2*)(y + 8) = odd ? make_float2(weight * lower, weight * v[3]) : make_float2(weight * v[2], weight * lower);
      }
    }
  }
}

template <bool UP, typename C>
__device__ __forceinline__ void narrow(const Narrow& a) {
  extern __shared__ __align__(1024) u8 ring[];  // [stage]: operands [unit][slot][8 pieces], weights [warp][unit][lane], scales
  __shared__ u64 barriers[2 * C::STAGES];       // of full stages, of free ones
  const u32 warp = __shfl_sync(EVERY_LANE, threadIdx.x >> 5, 0), first = shared_address(barriers);
  if (threadIdx.x == 0) {
    // A stage is full when both warps have said so, by one lane and by all; free when all have read it.
    for (u32 i = 0; i < C::STAGES; i++) barrier_init(first + i * 8, 33), barrier_init(first + (C::STAGES + i) * 8, C::WARPS);
    barriers_ready();
  }
  __syncthreads();
  if (UP) dep_wait(), dep_go();
  // `down` begins before `up` has ended: what it reads of `dispatch` was there when `up` began to work.
  const u32 total = *a.num_items * a.tiles, at = share(total, blockIdx.x, gridDim.x), end = share(total, blockIdx.x + 1, gridDim.x);
  const Stage<C> stage((shared_address(ring) + 1023) & ~1023u, first);
  if (warp < C::WARPS) {
    multiply<UP, C>(a, warp, at, end, stage);
  } else if (warp == C::WARPS) {
    ask<C>(a, at, end, stage);
  } else {
    if (!UP) dep_wait(), dep_go();
    feed<UP, C>(a, at, end, stage);
  }
}

extern "C" __global__ void __launch_bounds__(576, 1) narrow_up_32(const __grid_constant__ Narrow a) { narrow<true, Cut<4, 16, 3, 5>>(a); }
extern "C" __global__ void __launch_bounds__(576, 1) narrow_up_64(const __grid_constant__ Narrow a) { narrow<true, Cut<8, 16, 3, 4>>(a); }
extern "C" __global__ void __launch_bounds__(576, 1) narrow_down_32(const __grid_constant__ Narrow a) { narrow<false, Cut<4, 16, 3, 5>>(a); }
extern "C" __global__ void __launch_bounds__(576, 1) narrow_down_64(const __grid_constant__ Narrow a) { narrow<false, Cut<8, 16, 3, 4>>(a); }

#endif
