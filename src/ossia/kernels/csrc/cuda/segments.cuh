// How a product is cut. Its units (16 rows by 64 k) lie in a line, tile after tile; blocks and,
// in a block, warps take equal contiguous shares, so a tile's units may belong to several of them.
// What a warp has of a tile goes into a slot in shared memory, and a tile's slots are added up in the
// order of the warps: the same sum every time. Tiles that a warp has to itself it emits on its own.
#pragma once
#include "common.cuh"

template <int NT, int WARPS>
struct Slots {
  float value[WARPS][2][NT * 128];  // of its first tile and of its last: [token][row of the tile]
  u32 bound[WARPS + 1];             // where each warp's units begin

  __device__ __forceinline__ void share_out(u32 first, u32 last) {
    if (threadIdx.x <= WARPS) bound[threadIdx.x] = first + share(last - first, threadIdx.x, WARPS);
  }

  // Accumulators of a tile into a slot of this warp.
  __device__ __forceinline__ void put(float* slot, const float (&acc)[NT][4]) {
    u32 lane = threadIdx.x & 31, r = lane >> 2, q = lane & 3;
#pragma unroll
    for (int t = 0; t < NT; t++) {
      float* at = slot + (t * 8 + 2 * q) * 16 + r;
      at[0] = acc[t][0], at[16] = acc[t][1], at[8] = acc[t][2], at[24] = acc[t][3];
    }
  }

  // A tile of this warp alone; `emit(tile, item, sum)` is called for each of `items`.
  template <typename Emit>
  __device__ __forceinline__ void emit_whole(u32 tile, const float (&acc)[NT][4], u32 items, Emit emit) {
    float* slot = value[threadIdx.x >> 5][1];
    __syncwarp();
    put(slot, acc);
    __syncwarp();
    auto sum = [&](u32 at) { return slot[at]; };
    for (u32 item = threadIdx.x & 31; item < items; item += 32) emit(tile, item, sum);
    __syncwarp();
  }

  // The tiles that several warps share; all threads call it after a barrier.
  template <typename Emit>
  __device__ __forceinline__ void emit_shared(u32 first, u32 last, u32 per, u32 items, Emit emit) {
    if (first >= last) return;
    u32 tile0 = first / per, tiles = (last - 1) / per + 1 - tile0;
    for (u32 i = threadIdx.x; i < tiles * items; i += WARPS * 32) {
      u32 tile = tile0 + i / items, begin = tile * per, end = begin + per;
      u32 low = max(begin, first), high = min(end, last) - 1;  // the tile's units in this block
      int w0 = holder(last - first, low - first, WARPS), w1 = holder(last - first, high - first, WARPS);
      if (bound[w0] <= begin && bound[w0 + 1] >= end) continue;  // its warp has emitted it
      auto sum = [&](u32 at) {
        float total = value[w0][bound[w0] >= begin ? 0 : 1][at];
        for (int w = w0 + 1; w <= w1; w++)
          if (bound[w] < bound[w + 1]) total += value[w][0][at];  // it begins in this tile
        return total;
      };
      emit(tile, i % items, sum);
    }
  }
};
