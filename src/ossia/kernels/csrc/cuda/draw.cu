// A token of each row, drawn by chance from the valid ids or the most likely one, and fed back as argmax.cu does it.
// `weigh` looks at slices of the vocabulary: for the largest logit, then for the sum of the weights
// exp((logit - largest) / temperature). `draw`, a block for each row, finds the slice in which the weights, added up in
// the order of ids, exceed their total times the row's number in [0, 1), and in it the id. Where only the likely
// ids may be drawn, it looks at all of the row again, for which ones they are and for their sums.
#include "blake2b.cuh"
#include "logits_row.cuh"
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
  const double* uniforms;  // (tokens,): the numbers in [0, 1); null hashes them
  u64* best;              // (tokens, slices), scratch, as `weights`
  double* weights;
  int* ids;       // these as in argmax.cu
  int* positions;
  int* out;
  const u8* sets;  // (any number, set_bytes), as LogitsRow has them
  u32 tokens, vocab, end, set_bytes, slices;  // ids below `end` are valid
};

constexpr u32 WEIGHERS = 256, DRAWERS = 512, MOST_SLICES = 64;

__device__ __forceinline__ LogitsRow row_of(const Draw& a, u32 token, u32 set) {
  return LogitsRow(a.logits + (u64)token * a.vocab, a.vocab, a.end, set ? a.sets + (u64)(set - 1) * a.set_bytes : nullptr);
}
__device__ __forceinline__ double weight_of(float logit, float peak, float coldness) { return (double)expf((logit - peak) * coldness); }
__device__ __forceinline__ double warp_sum(double x) {
  for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(EVERY_LANE, x, o);
  return x;
}

extern "C" __global__ void __launch_bounds__(WEIGHERS) weigh(const __grid_constant__ Draw a) {
  constexpr u32 WARPS = WEIGHERS / 32;
  __shared__ u64 found[WARPS];
  __shared__ double of_warp[WARPS];
  const u32 token = blockIdx.y, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  dep_go();
  const float coldness = a.chances[token].coldness;  // there before the step began
  const LogitsRow row = row_of(a, token, a.chances[token].set);
  const u32 begin = share(row.fours(), blockIdx.x, a.slices), end = share(row.fours(), blockIdx.x + 1, a.slices);
  dep_wait();
  u64 best = 0;
  row.each<4>(begin + threadIdx.x, end, WEIGHERS, [&](u32 id, float logit) { best = max(best, (u64)ordered(logit) << 32 | (u32)~id); });
  best = warp_max(best);
  if (lane == 0) found[warp] = best;
  __syncthreads();
  for (u32 w = 0; w < WARPS; w++) best = max(best, found[w]);
  const float peak = unordered(best >> 32);
  double mine = 0;
  if (coldness > 0 && best && peak > MINUS_INFINITY)
    row.each<4>(begin + threadIdx.x, end, WEIGHERS, [&](u32, float logit) { mine += weight_of(logit, peak, coldness); });
  mine = warp_sum(mine);
  if (lane == 0) of_warp[warp] = mine;
  __syncthreads();
  if (threadIdx.x == 0) {
    double weight = 0;
    for (u32 w = 0; w < WARPS; w++) weight += of_warp[w];
    a.best[token * a.slices + blockIdx.x] = best, a.weights[token * a.slices + blockIdx.x] = weight;
  }
}

extern "C" __global__ void __launch_bounds__(DRAWERS) draw(const __grid_constant__ Draw a) {
  constexpr u32 WARPS = DRAWERS / 32;
  __shared__ double of_warp[WARPS], weights[MOST_SLICES], uniform, total, rest;
  __shared__ Histogram<DRAWERS> histogram;
  __shared__ int chosen, last;
  __shared__ u32 slice;
  const u32 token = blockIdx.x, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  dep_go();
  // Positions and chances are as they will be: they were there before the step began.
  const int position = a.positions[token];
  const Chance chance = a.chances[token];
  const bool is_drawn = chance.coldness > 0;
  const LogitsRow row = row_of(a, token, chance.set);
  if (threadIdx.x == 0 && is_drawn)
    uniform = a.uniforms ? a.uniforms[token] : uniform_of((u64)chance.seed[1] << 32 | chance.seed[0], chance.continuation, (u64)(long long)(position - chance.first));
  dep_wait();

  const u64* bests = a.best + token * a.slices;
  u64 best = 0;
  for (u32 s = lane; s < a.slices; s += 32) best = max(best, bests[s]);
  best = warp_max(best);
  const float largest = best ? unordered(best >> 32) : MINUS_INFINITY;
  int id = best ? ~(u32)best : 0;
  if (is_drawn) {
    // A slice's weights are of its own largest logit; here they become those of the row's.
    auto fade_of = [&](u32 s) {
      const float peak = unordered(bests[s] >> 32);
      return peak > MINUS_INFINITY ? weight_of(peak, largest, chance.coldness) : 0.;
    };
    if (threadIdx.x < a.slices) weights[threadIdx.x] = a.weights[token * a.slices + threadIdx.x] * fade_of(threadIdx.x);
    __syncthreads();
    if (threadIdx.x == 0) {
      total = 0;
      for (u32 s = 0; s < a.slices; s++) total += weights[s];
    }
    __syncthreads();
    // The depth of the last one that may be drawn.
    u32 deepest = ~0u;
    const bool is_cut = total > 0 && total < 1e30 && (chance.top_k || chance.top_p < 1 || chance.reach < -MINUS_INFINITY);
    auto is_kept = [&](float logit) { return depth_of((largest - logit) * chance.coldness) <= deepest; };
    // No logit below it is kept. A little less than the least one that is, since it is rounded.
    auto least = [&] { return deepest == ~0u ? MINUS_INFINITY : largest - ((float)deepest + 1) / UNITS / chance.coldness * 1.00001f; };
    if (is_cut) {
      auto each = [&](auto&& look) {
        const auto kept = [&](u32, float logit) {
          if (is_kept(logit)) look((largest - logit) * chance.coldness);
        };
        row.each<8>(threadIdx.x, row.fours(), DRAWERS, kept, least());
      };
      if (chance.top_k) deepest = depth_to_reach(histogram, each, false, chance.top_k, 0);
      if (chance.top_p < 1) {
        u64 wanted = 0;
        if (!chance.top_k) {
          wanted = (u64)(chance.top_p * total * WHOLE) + 1;
          // All that are less likely than this do not add up to what may be left out.
          deepest = depth_of(logf((float)(a.vocab / ((1. - chance.top_p) * total))) + .01f);
        }
        deepest = min(deepest, depth_to_reach(histogram, each, true, wanted, chance.top_p));
      }
      deepest = min(deepest, depth_of(chance.reach));
    }
    const u32 parts = is_cut ? MOST_SLICES : a.slices;
    auto begin_of = [&](u32 s) { return share(row.fours(), s, parts); };
    if (is_cut) {
      for (u32 s = warp; s < parts; s += WARPS) {
        double mine = 0;
        const auto add = [&](u32, float logit) {
          if (is_kept(logit)) mine += weight_of(logit, largest, chance.coldness);
        };
        row.each<8>(begin_of(s) + lane, begin_of(s + 1), 32, add, least());
        mine = warp_sum(mine);
        if (lane == 0) weights[s] = mine;
      }
      __syncthreads();
    }
    if (threadIdx.x == 0) {
      double all = 0, before = 0;
      for (u32 s = 0; s < parts; s++) all += weights[s];
      const double target = uniform * all;
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
    const u32 begin = 4 * begin_of(slice), length = min(4 * begin_of(slice + 1), a.vocab) - begin;
    const float peak = is_cut ? largest : unordered(bests[slice] >> 32);
    auto weight_at = [&](u32 id) {
      const float logit = row.logits[id];
      return row.may_come(id) && is_kept(logit) ? weight_of(logit, peak, chance.coldness) : 0.;
    };
    // A warp has neighbouring ids, and the one in whose part the number lies adds up 32 at a time, in their order.
    const u32 from = begin + share(length, warp, WARPS), to = begin + share(length, warp + 1, WARPS);
    double mine = 0;
    int with_weight = -1;
    for (u32 i = from + lane; i < to; i += 32) {
      const double one = weight_at(i);
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
        const double one = first + lane < to ? weight_at(first + lane) : 0;
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
    if (position < 0) return;  // what the step before has left may not be read yet
    int* out = a.out + (position & 1) * 2 * a.tokens + token;
    out[0] = id, out[a.tokens] = __float_as_int(largest);
    a.ids[token] = id, a.positions[token] = position + 1;
  }
}
