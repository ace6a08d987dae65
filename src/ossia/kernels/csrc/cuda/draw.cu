// A token of each row, drawn by chance from the valid ids or the most likely one, and fed back as argmax.cu does
// it. Blocks look at slices of the vocabulary: for the largest logit, then for the sum of the weights
// exp((logit - largest) / temperature). The block of a row that ends last finds the slice in which the weights,
// added up in the order of ids, exceed their total times the row's number in [0, 1), and in it the id. Where only the
// likely ids may be drawn, that block looks at all of the row again, for which ones they are and for their sums.
#include "blake2b.cuh"
#include "truncate.cuh"

struct Chance {
  u32 seed[2], continuation;
  int first;       // the position at which the sequence's first output is drawn
  float coldness;  // 1 / temperature; 0 takes the most likely token
  u32 top_k;       // 0 for all
  float top_p, reach;  // `reach` is -log(min_p)
  u32 set;         // from 1 on, one of `sets`, whose ids alone may come; 0 if all may
};

struct Draw {
  const float* logits;    // (tokens, vocab)
  const Chance* chances;  // (tokens,)
  u64* best;              // (tokens, slices), scratch, as `weights`
  double* weights;
  double* uniforms;  // (tokens,), scratch
  u32* arrivals;     // (tokens,), zero before and after
  int* ids;       // these as in argmax.cu
  int* positions;
  int* out;
  const u8* sets;  // (any number, set_bytes): bit i % 8 of byte i / 8 is set if id i belongs to it
  u32 tokens, vocab, end, set_bytes;  // ids below `end` are valid
};

constexpr u32 THREADS = 256, MOST_SLICES = 64;

constexpr u32 WARPS = THREADS / 32;

__device__ __forceinline__ double warp_sum(double x) {
  for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(EVERY_LANE, x, o);
  return x;
}

extern "C" __global__ void __launch_bounds__(THREADS) draw(const __grid_constant__ Draw a) {
  __shared__ u64 found[WARPS];
  __shared__ double of_warp[WARPS], weights[MOST_SLICES], total, rest;
  __shared__ Histogram<THREADS> histogram;
  __shared__ int chosen, last;
  __shared__ u32 slice;
  __shared__ bool is_last;
  const u32 token = blockIdx.y, slices = gridDim.x, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  dep_go();
  // Positions and chances are as they will be: they were there before the step began.
  const int position = a.positions[token];
  const Chance chance = a.chances[token];
  const bool is_drawn = chance.coldness > 0;
  if (blockIdx.x == 0 && threadIdx.x == 0 && is_drawn)
    a.uniforms[token] = uniform_of((u64)chance.seed[1] << 32 | chance.seed[0], chance.continuation, (u64)(long long)(position - chance.first));
  dep_wait();
  const float* row = a.logits + (u64)token * a.vocab;
  const u8* set = chance.set ? a.sets + (u64)(chance.set - 1) * a.set_bytes : nullptr;
  auto may_come = [&](u32 id) { return !set || set[id >> 3] >> (id & 7) & 1; };
  auto weight_of = [&](u32 id, float peak) { return may_come(id) ? (double)expf((row[id] - peak) * chance.coldness) : 0.; };

  u32 begin = share(a.end, blockIdx.x, slices), end = share(a.end, blockIdx.x + 1, slices);
  u64 best = 0;
#pragma unroll 4
  for (u32 i = begin + threadIdx.x; i < end; i += THREADS)
    if (may_come(i)) best = max(best, (u64)ordered(row[i]) << 32 | (u32)~i);
  best = warp_max(best);
  if (lane == 0) found[warp] = best;
  __syncthreads();
  for (u32 w = 0; w < WARPS; w++) best = max(best, found[w]);
  if (is_drawn) {
    const float peak = unordered(best >> 32);
    double mine = 0;
    if (best && peak > MINUS_INFINITY)
      for (u32 i = begin + threadIdx.x; i < end; i += THREADS) mine += weight_of(i, peak);
    mine = warp_sum(mine);
    if (lane == 0) of_warp[warp] = mine;
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    double weight = 0;
    for (u32 w = 0; w < WARPS && is_drawn; w++) weight += of_warp[w];
    a.best[token * slices + blockIdx.x] = best, a.weights[token * slices + blockIdx.x] = weight;
    __threadfence();
    is_last = atomicAdd(a.arrivals + token, 1) == slices - 1;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();

  auto best_of = [&](u32 s) { return ((volatile u64*)a.best)[token * slices + s]; };
  best = 0;
  for (u32 s = lane; s < slices; s += 32) best = max(best, best_of(s));
  best = warp_max(best);
  const float largest = best ? unordered(best >> 32) : MINUS_INFINITY;
  float told = largest;
  int id = best ? ~(u32)best : 0;
  if (is_drawn) {
    // A slice's weights are of its own largest logit; here they become those of the row's.
    auto fade_of = [&](u32 s) {
      const float peak = unordered(best_of(s) >> 32);
      return peak > MINUS_INFINITY ? (double)expf((peak - largest) * chance.coldness) : 0.;
    };
    if (threadIdx.x < slices) weights[threadIdx.x] = ((volatile double*)a.weights)[token * slices + threadIdx.x] * fade_of(threadIdx.x);
    __syncthreads();
    if (threadIdx.x == 0) {
      total = 0;
      for (u32 s = 0; s < slices; s++) total += weights[s];
    }
    __syncthreads();
    if (!(total >= 0) && largest < -MINUS_INFINITY) told = __int_as_float(0x7fffffff);  // NaN that `ordered` hides
    // The depth of the last one that may be drawn.
    u32 deepest = ~0u;
    const bool is_cut = total > 0 && total < 1e30 && (chance.top_k || chance.top_p < 1 || chance.reach < -MINUS_INFINITY);
    auto is_kept = [&](float logit) { return depth_of((largest - logit) * chance.coldness) <= deepest; };
    if (is_cut) {
      auto each = [&](auto&& look) {
        constexpr u32 AT_ONCE = 8;  // on their way from memory
        for (u32 first = threadIdx.x; first < a.end; first += AT_ONCE * THREADS) {
          float x[AT_ONCE];
#pragma unroll
          for (u32 j = 0; j < AT_ONCE; j++) x[j] = first + j * THREADS < a.end ? row[first + j * THREADS] : 0;
#pragma unroll
          for (u32 j = 0; j < AT_ONCE; j++)
            if (first + j * THREADS < a.end && is_kept(x[j]) && may_come(first + j * THREADS)) look((largest - x[j]) * chance.coldness);
        }
      };
      if (chance.top_k) deepest = depth_to_reach(histogram, each, false, chance.top_k, 0);
      if (chance.top_p < 1) {
        u64 wanted = 0;
        if (!chance.top_k) {
          wanted = (u64)(chance.top_p * total * WHOLE) + 1;
          // All that are less likely than this do not add up to what may be left out.
          deepest = depth_of(logf((float)(a.end / ((1. - chance.top_p) * total))) + .01f);
        }
        deepest = min(deepest, depth_to_reach(histogram, each, true, wanted, chance.top_p));
      }
      deepest = min(deepest, depth_of(chance.reach));
    }
    const u32 parts = is_cut ? MOST_SLICES : slices;
    auto weight_at = [&](u32 i, float peak) { return is_kept(row[i]) ? weight_of(i, peak) : 0.; };
    if (is_cut) {
      for (u32 s = warp; s < parts; s += WARPS) {
        double mine = 0;
        const u32 to = share(a.end, s + 1, parts);
#pragma unroll 8
        for (u32 i = share(a.end, s, parts) + lane; i < to; i += 32) mine += weight_at(i, largest);
        mine = warp_sum(mine);
        if (lane == 0) weights[s] = mine;
      }
      __syncthreads();
    }
    if (threadIdx.x == 0) {
      double all = 0, before = 0;
      for (u32 s = 0; s < parts; s++) all += weights[s];
      const double target = ((volatile double*)a.uniforms)[token] * all;
      chosen = last = -1;
      u32 with_weight = 0;
      double sum = 0;
      for (u32 s = 0; s < parts; s++) {
        if (weights[s] > 0) {
          with_weight = s, before = sum;
          if (sum + weights[s] > target) break;
        }
        sum += weights[s];
      }
      slice = with_weight;
      rest = (target - before) / (is_cut ? 1. : fade_of(slice));
    }
    __syncthreads();
    begin = share(a.end, slice, parts), end = share(a.end, slice + 1, parts);
    const float peak = is_cut ? largest : unordered(best_of(slice) >> 32);
    // A warp has neighbouring ids, and the one in whose part the number lies adds up 32 at a time, in their order.
    const u32 length = end - begin, from = begin + share(length, warp, WARPS), to = begin + share(length, warp + 1, WARPS);
    double mine = 0;
    int with_weight = -1;
    for (u32 i = from + lane; i < to; i += 32) {
      const double one = weight_at(i, peak);
      mine += one;
      if (one > 0) with_weight = i;
    }
    mine = warp_sum(mine);
    if (lane == 0) of_warp[warp] = mine;
    atomicMax(&last, with_weight);
    __syncthreads();
    double sum = 0;
    for (u32 w = 0; w < warp; w++) sum += of_warp[w];
    if (sum <= rest && rest < sum + mine) {
      int here = -1;
      for (u32 first = from; first < to && here < 0; first += 32) {
        const double one = first + lane < to ? weight_at(first + lane, peak) : 0;
        double up_to = one;
#pragma unroll
        for (int o = 1; o < 32; o *= 2) {
          const double x = __shfl_up_sync(EVERY_LANE, up_to, o);
          if (lane >= o) up_to += x;
        }
        const u32 passing = __ballot_sync(EVERY_LANE, one > 0 && sum + up_to > rest);
        if (passing) here = first + __ffs(passing) - 1;
        sum += __shfl_sync(EVERY_LANE, up_to, 31);
      }
      atomicMax(&chosen, here >= 0 ? here : with_weight);
    }
    __syncthreads();
    // Rounding may leave the number behind all of the slice's weights.
    if (chosen >= 0) id = chosen;
    else if (last >= 0) id = last;
  }
  if (threadIdx.x == 0) {
    a.arrivals[token] = 0;
    if (position < 0) return;  // what the step before has left may not be read yet
    int* out = a.out + (position & 1) * 2 * a.tokens + token;
    out[0] = id, out[a.tokens] = __float_as_int(told);
    a.ids[token] = id, a.positions[token] = position + 1;
  }
}
