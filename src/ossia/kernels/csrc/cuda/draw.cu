// A token of each row, drawn by chance from all valid ids or the most likely one, and fed back as argmax.cu does
// it. Blocks look at slices of the vocabulary: for the largest logit, then for the sum of the weights
// exp((logit - largest) / temperature). The block of a row that ends last finds the slice in which the weights,
// added up in the order of ids, exceed their total times the row's number in [0, 1), and in it the id.
#include "blake2b.cuh"

struct Chance {
  u32 seed[2], continuation;
  int first;       // the position at which the sequence's first output is drawn
  float coldness;  // 1 / temperature; 0 takes the most likely token
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
  u32 tokens, vocab, end;  // ids below `end` are valid
};

constexpr u32 THREADS = 256, MOST_SLICES = 64;

constexpr u32 WARPS = THREADS / 32;

__device__ __forceinline__ double warp_sum(double x) {
  for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(EVERY_LANE, x, o);
  return x;
}

extern "C" __global__ void __launch_bounds__(THREADS) draw(const __grid_constant__ Draw a) {
  __shared__ u64 found[WARPS];
  __shared__ double of_warp[WARPS], weights[MOST_SLICES], rest;
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
  auto weight_of = [&](u32 id, float peak) { return (double)expf((row[id] - peak) * chance.coldness); };

  u32 begin = share(a.end, blockIdx.x, slices), end = share(a.end, blockIdx.x + 1, slices);
  u64 best = 0;
#pragma unroll 4
  for (u32 i = begin + threadIdx.x; i < end; i += THREADS) best = max(best, (u64)ordered(row[i]) << 32 | (u32)~i);
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
  const float largest = unordered(best >> 32);
  float told = largest;
  int id = ~(u32)best;
  if (is_drawn) {
    // A slice's weights are of its own largest logit; here they become those of the row's.
    auto fade_of = [&](u32 s) {
      const float peak = unordered(best_of(s) >> 32);
      return peak > MINUS_INFINITY ? (double)expf((peak - largest) * chance.coldness) : 0.;
    };
    if (threadIdx.x < slices) weights[threadIdx.x] = ((volatile double*)a.weights)[token * slices + threadIdx.x] * fade_of(threadIdx.x);
    __syncthreads();
    if (threadIdx.x == 0) {
      double total = 0, before = 0;
      for (u32 s = 0; s < slices; s++) total += weights[s];
      if (!(total >= 0) && largest < -MINUS_INFINITY) told = __int_as_float(0x7fffffff);  // NaN that `ordered` hides
      const double target = ((volatile double*)a.uniforms)[token] * total;
      slice = 0, chosen = last = -1;
      u32 with_weight = 0;
      double sum = 0;
      for (u32 s = 0; s < slices; s++) {
        if (weights[s] > 0) {
          with_weight = s, before = sum;
          if (sum + weights[s] > target) break;
        }
        sum += weights[s];
      }
      slice = with_weight;
      rest = (target - before) / fade_of(slice);
    }
    __syncthreads();
    begin = share(a.end, slice, slices), end = share(a.end, slice + 1, slices);
    const float peak = unordered(best_of(slice) >> 32);
    // A warp has neighbouring ids, and the one in whose part the number lies adds up 32 at a time, in their order.
    const u32 length = end - begin, from = begin + share(length, warp, WARPS), to = begin + share(length, warp + 1, WARPS);
    double mine = 0;
    int with_weight = -1;
    for (u32 i = from + lane; i < to; i += 32) {
      const double one = weight_of(i, peak);
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
        const double one = first + lane < to ? weight_of(first + lane, peak) : 0;
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
