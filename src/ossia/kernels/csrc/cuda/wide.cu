// Expert matrices times many tokens, on Hopper's warpgroup products: each block takes some rows of one
// expert and one item of slots (dispatch.cu), so weights are expanded once for so many. Up to 64 slots,
// where reading weights takes longer than products, several blocks of 128 rows run side by side on a
// multiprocessor; beyond that one of 256 rows does.
//
//   up:   inner[slot] = clamped_swiglu(W_e x_token + b_e)
//   down: said[slot] = W_e inner[slot] + b_e, bfloat16
//   down_parts: y[i][token] = weight * (W_e inner[slot] + b_e) for the token's i-th expert, float
//
// `x` and `inner` are stored in the order of k that warpgroup.cuh tells of, times 2^64.
#include "bulk.cuh"
#include "warpgroup.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

struct Wide {
  const uint4* blocks;  // relaid: (experts, tiles, units, 32 lanes)
  const u32* scales;    // relaid: (experts, tiles, units, 8 pairs of rows)
  const u16* bias;      // bfloat16 (experts, rows)
  const uint4* x;       // up (tokens, units * 64), down (tokens * top_k, units * 64)
  void* y;              // up: like x, (tokens * top_k, out_stride); down: bfloat16 (tokens * top_k, rows);
                        // down_parts: float (top_k, tokens, rows)
  const int* slots;
  const int4* items;
  const int* num_items;
  const float* weights;  // (tokens * top_k,), for down_parts
  u32 tokens, top_k, tiles, units, rows, out_stride;
  float alpha, limit;
};

enum Way { UP, DOWN, DOWN_PARTS };

// NT: tiles of 8 slots that are multiplied. A warp has 16 rows.
template <Way WAY, int NT, int WARPS, int STAGES>
__device__ __forceinline__ void product(const Wide& a, int4 item, u32* slots) {
  constexpr int AHEAD = STAGES - 2;
  constexpr u32 B_BYTES = NT * 1024, W_BYTES = WARPS * 512, S_BYTES = WARPS * 128;
  extern __shared__ __align__(1024) u8 shared[];
  // [stage][slot][8 pieces], then weights [stage][warp][lane], then their scales; afterwards outputs [slot][OUT]
  constexpr u32 OUT = WAY == UP ? WARPS * 16 + 16 : WARPS * 32 + 16;  // bytes of a slot's outputs and a gap
  constexpr int COLUMNS = WARPS * 4, PIECES_X = (NT * 8 + COLUMNS - 1) / COLUMNS;  // at once by all threads; of a thread
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  const u32 tile = blockIdx.x * WARPS + warp, U = a.units, base = (shared_address(shared) + 1023) & ~1023u;
  const u64 unit = (u64)(item.x * a.tiles + min(tile, a.tiles - 1)) * U;
  const uint4* pw = a.blocks + unit * 32 + lane;
  const u32* ps = a.scales + unit * 8 + r;
  const u32 first_operand = operand_low(base);
  const u32 words = base + STAGES * B_BYTES + warp * 512 + lane * 16;
  const u32 scales = base + STAGES * (B_BYTES + W_BYTES) + warp * 128 + lane * 4;
  const uint4* px[PIECES_X];
  u32 x_to[PIECES_X];
  bool there[PIECES_X];
#pragma unroll
  for (int j = 0; j < PIECES_X; j++) {
    const u32 column = threadIdx.x / 8 + j * COLUMNS, piece = threadIdx.x % 8;
    there[j] = column < item.z;
    u32 slot = a.slots[item.y + (there[j] ? column : 0)];
    px[j] = a.x + (u64)(WAY == UP ? slot / a.top_k : slot) * (U * 8) + piece;
    if (piece == 0 && column < NT * 8) slots[column] = slot;
    x_to[j] = base + column * 128 + (piece ^ column & 7) * 16;
  }
  auto weights = [&](u32 stage) {
    copy16(words + stage * W_BYTES, pw), copy4(scales + stage * S_BYTES, ps);
    pw += 32, ps += 8;
  };
  auto operands = [&](u32 stage) {
#pragma unroll
    for (int j = 0; j < PIECES_X; j++) {
      if ((j + 1) * COLUMNS <= NT * 8 || (int)threadIdx.x / 8 + j * COLUMNS < NT * 8) copy16(x_to[j] + stage * B_BYTES, px[j], there[j]);
      px[j] += 8;
    }
  };
#pragma unroll 1
  for (u32 s = 0; s < AHEAD; s++)
    if (s < U) weights(s);
  if (WAY != UP) dep_wait(), dep_go();  // `up` has waited already, for its items
#pragma unroll 1
  for (u32 s = 0; s < AHEAD; s++) {
    if (s < U) operands(s);
    copies_end();
  }
  float acc[NT][4] = {};
  hold(acc);
  u32 A[2][2][4], stage = 0, next = AHEAD;
#pragma unroll 1
  for (u32 u = 0; u < U; u++) {
    copies_wait<AHEAD - 1>();
    operands_ready();
    __syncthreads();  // all have the unit, and are done with the one before the last
    if (u + AHEAD < U) weights(next), operands(next);
    copies_end();
    const uint4 w = shared4(words + stage * W_BYTES);
    const u32 s = shared1(scales + stage * S_BYTES);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      mma_wait<1>();  // the products that read these registers
      if (half) expand<1>(A[1], w.z, w.w, s);
      else expand<0>(A[0], w.x, w.y, s);
      mma_fence();
      warpgroup_mma(acc, A[half][0], operand_at(first_operand + stage * (B_BYTES / 16) + half * 4));
      warpgroup_mma(acc, A[half][1], operand_at(first_operand + stage * (B_BYTES / 16) + half * 4 + 2));
      mma_commit();
    }
    if (++stage == STAGES) stage = 0;
    if (++next == STAGES) next = 0;
  }
  hold(acc);
  mma_wait<0>();
  hold(acc);
  __syncthreads();  // outputs lie where operands were
  if (tile < a.tiles) {
    const u16* bias = a.bias + (u64)item.x * a.rows;
    const u32 row = WAY == UP ? tile * 8 + r : tile * 16 + r, local = row - blockIdx.x * (WAY == UP ? WARPS * 8 : WARPS * 16);
    float b0, b1;
    if (WAY == UP) b0 = wide(bias[2 * row]), b1 = wide(bias[2 * row + 1]);
    else b0 = row < a.rows ? wide(bias[row]) : 0.f, b1 = row + 8 < a.rows ? wide(bias[row + 8]) : 0.f;
    const u32 limit = pack(a.limit, a.limit), place = place_of(local);
#pragma unroll
    for (int t = 0; t < NT; t++) {
      if (t * 8 >= item.z) break;
      // Two columns at a time.
      const u32 column = t * 8 + 2 * q, to = base + column * OUT;
      float upper[2], lower[2];
#pragma unroll
      for (int c = 0; c < 2; c++) upper[c] = acc[t][c] * REST_SCALE + b0, lower[c] = acc[t][c + 2] * REST_SCALE + b1;
      if (WAY == UP) {
        put_pair(to + place * 2, OUT, swiglu(pack(upper[0], upper[1]), pack(lower[0], lower[1]), a.alpha, limit));
      } else if (WAY == DOWN) {
        put_pair(to + local * 2, OUT, pack(upper[0], upper[1])), put_pair(to + local * 2 + 16, OUT, pack(lower[0], lower[1]));
      } else {
#pragma unroll
        for (int c = 0; c < 2; c++) {
          if (column + c >= item.z) continue;
          const u32 slot = slots[column + c], token = slot / a.top_k;
          const float weight = a.weights[slot];
          float* y = (float*)a.y + ((u64)(slot - token * a.top_k) * a.tokens + token) * a.rows + row;
          if (row < a.rows) y[0] = weight * upper[c];
          if (row + 8 < a.rows) y[8] = weight * lower[c];
        }
      }
    }
  }
  if (WAY != DOWN_PARTS) {
    __syncthreads();
    const u32 length = WAY == UP ? a.tiles * 8 : a.rows, at = blockIdx.x * (WAY == UP ? WARPS * 8 : WARPS * 16);
    constexpr u32 PIECES = WAY == UP ? WARPS : WARPS * 2;  // of 16 bytes
    for (u32 i = threadIdx.x; i < item.z * PIECES; i += WARPS * 32) {
      const u32 column = i / PIECES, piece = i % PIECES * 8;
      if (at + piece >= length) continue;
      u16* y = (u16*)a.y + (u64)slots[column] * (WAY == UP ? a.out_stride : a.rows) + at + piece;
      *(uint4*)y = shared4(base + column * OUT + piece * 2);
    }
  }
}

template <Way WAY, int MOST>
__device__ __forceinline__ void wide(const Wide& a) {
  __shared__ u32 slots[MOST];
  // `down` begins before `up` has ended: what it reads of `dispatch` was there when `up` began to work.
  if (WAY == UP) dep_wait(), dep_go();
  if (blockIdx.y >= *a.num_items) {
    if (WAY != UP) dep_wait();
    return;
  }
  const int4 item = a.items[blockIdx.y];
  if (MOST == 32) return product<WAY, 4, 8, 6>(a, item, slots);
  if (MOST == 64) return product<WAY, 8, 8, 5>(a, item, slots);
  if (item.z <= 64) return product<WAY, 8, 16, 5>(a, item, slots);
  if (item.z <= 96) return product<WAY, 12, 16, 5>(a, item, slots);
  product<WAY, 16, 16, 5>(a, item, slots);
}

#define KERNELS(MOST, THREADS, BLOCKS) \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) wide_up_##MOST(const __grid_constant__ Wide a) { wide<UP, MOST>(a); } \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) wide_down_##MOST(const __grid_constant__ Wide a) { wide<DOWN, MOST>(a); } \
  extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) wide_down_parts_##MOST(const __grid_constant__ Wide a) { wide<DOWN_PARTS, MOST>(a); }
KERNELS(32, 256, 4)
KERNELS(64, 256, 3)
KERNELS(128, 512, 1)

#endif
