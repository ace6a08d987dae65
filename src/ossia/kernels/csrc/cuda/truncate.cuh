// Which logits of a row may be drawn, as `truncate` in kernels/sampling/reference.py says. Nothing is sorted: the one at
// the border is found by a histogram of how likely they are, then by one of those in its bin, with smaller bins.
#pragma once
#include "common.cuh"

constexpr u32 BINS = 2048;
constexpr float UNITS = 1u << 27, DEEPEST = 32;
constexpr double WHOLE = 1ull << 40;

// How far below the largest logit, in units, after temperature. From 32 on, where a token is e^-32 times as likely as
// the most likely one, all are alike.
__device__ __forceinline__ u32 depth_of(float below) { return below < DEEPEST ? (u32)(below * UNITS) : ~0u; }

template <u32 THREADS>
struct Histogram {
  u32 counts[BINS];
  // Of weights, in whole numbers: their order does not matter then. Halves apart, since shared memory adds 32 bits
  // by itself, but 64 by a loop that all who add to a bin have to take turns in.
  u32 low[BINS], high[BINS];
  u64 of_warp[THREADS / 32], before;
  u32 bin, count;
};

// The depth of the last one that it takes, from the most likely one on, to reach a sum: of their number, or of their
// weights. All threads of a block have to call it.
//   each: calls what it is given with `below` of some logits, so that all threads together look at each of them once.
//   wanted: the sum; if 0, `part` of all weights.
template <u32 THREADS, typename Each>
__device__ u32 depth_to_reach(Histogram<THREADS>& h, Each&& each, bool by_weight, u64 wanted, double part) {
  constexpr u32 OWN = BINS / THREADS;
  static_assert(OWN * THREADS == BINS);
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  u32 from = 0;
  u64 before = 0;
  for (int shift = 21;; shift = max(shift - 11, 0)) {
    for (u32 i = threadIdx.x; i < BINS; i += THREADS) h.counts[i] = h.low[i] = h.high[i] = 0;
    if (threadIdx.x == 0) h.bin = h.count = 0;
    __syncthreads();
    each([&](float below) {
      const u32 depth = depth_of(below), bin = (depth - from) >> shift;
      if (depth < from || bin >= BINS) return;
      atomicAdd(h.counts + bin, 1);
      if (!by_weight) return;
      const u64 weight = (u64)(expf(-below) * (float)WHOLE);
      const u32 low = (u32)weight, high = (u32)(weight >> 32) + (atomicAdd(h.low + bin, low) + low < low);
      if (high) atomicAdd(h.high + bin, high);
    });
    __syncthreads();
    const auto in = [&](u32 bin) { return by_weight ? (u64)h.high[bin] << 32 | h.low[bin] : (u64)h.counts[bin]; };
    u64 own = 0;
    for (u32 i = 0; i < OWN; i++) own += in(threadIdx.x * OWN + i);
    u64 up_to = own;
#pragma unroll
    for (int o = 1; o < 32; o *= 2) {
      const u64 x = __shfl_up_sync(EVERY_LANE, up_to, o);
      if (lane >= o) up_to += x;
    }
    if (lane == 31) h.of_warp[warp] = up_to;
    __syncthreads();
    u64 sum = before + up_to - own, all = 0;
    for (u32 w = 0; w < THREADS / 32; w++) {
      if (w < warp) sum += h.of_warp[w];
      all += h.of_warp[w];
    }
    if (!wanted) wanted = (u64)(part * (double)all) + 1;
    if (sum < wanted && wanted <= sum + own) {  // one thread's
      u32 bin = threadIdx.x * OWN;
      for (; sum + in(bin) < wanted; bin++) sum += in(bin);
      h.bin = bin, h.before = sum, h.count = h.counts[bin];
    }
    __syncthreads();
    const u32 count = h.count;
    from += h.bin << shift, before = h.before;
    __syncthreads();
    if (!count) return ~0u;  // all together do not reach it
    if (count == 1 || shift == 0) return from + (1u << shift) - 1;
  }
}
