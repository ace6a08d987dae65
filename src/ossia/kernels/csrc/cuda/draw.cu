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

// The sum of all that come before in the block, in the order of threads, and in `total` of all.
__device__ __forceinline__ double sum_before(double mine, double& total) {
  __shared__ double of_warp[THREADS / 32];
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  double sum = mine;
#pragma unroll
  for (int o = 1; o < 32; o *= 2) {
    const double x = __shfl_up_sync(EVERY_LANE, sum, o);
    if (lane >= o) sum += x;
  }
  __syncthreads();  // who has called this before has read what is written now
  if (lane == 31) of_warp[warp] = sum;
  __syncthreads();
  double before = 0;
  total = 0;
  for (u32 w = 0; w < THREADS / 32; w++) {
    if (w == warp) before = total;
    total += of_warp[w];
  }
  return before + (sum - mine);
}

extern "C" __global__ void __launch_bounds__(THREADS) draw(const __grid_constant__ Draw a) {
  __shared__ u64 found[THREADS / 32];
  __shared__ double weights[MOST_SLICES], rest;
  __shared__ int chosen, last;
  __shared__ u32 slice;
  __shared__ bool is_last;
  const u32 token = blockIdx.y, slices = gridDim.x;
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
  if ((threadIdx.x & 31) == 0) found[threadIdx.x >> 5] = best;
  __syncthreads();
  for (u32 w = 0; w < THREADS / 32; w++) best = max(best, found[w]);
  double weight = 0;
  if (is_drawn) {
    const float peak = unordered(best >> 32);
    double mine = 0;
    if (best && peak > MINUS_INFINITY)
      for (u32 i = begin + threadIdx.x; i < end; i += THREADS) mine += weight_of(i, peak);
    sum_before(mine, weight);
  }
  if (threadIdx.x == 0) {
    a.best[token * slices + blockIdx.x] = best, a.weights[token * slices + blockIdx.x] = weight;
    __threadfence();
    is_last = atomicAdd(a.arrivals + token, 1) == slices - 1;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();

  auto best_of = [&](u32 s) { return ((volatile u64*)a.best)[token * slices + s]; };
  best = 0;
  for (u32 s = threadIdx.x & 31; s < slices; s += 32) best = max(best, best_of(s));
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
    // A thread has neighbouring ids, so that sums are in their order.
    const u32 each = (end - begin + THREADS - 1) / THREADS, from = min(begin + threadIdx.x * each, end), to = min(from + each, end);
    double mine = 0, total;
    for (u32 i = from; i < to; i++) mine += weight_of(i, peak);
    double sum = sum_before(mine, total);
    const bool is_here = sum <= rest && rest < sum + mine;
    int with_weight = -1;
    if (mine > 0) {
      for (u32 i = from; i < to; i++) {
        const double one = weight_of(i, peak);
        sum += one;
        if (one > 0) with_weight = i;
        if (is_here && sum > rest) break;
      }
      atomicMax(&last, with_weight);
      if (is_here) atomicMax(&chosen, with_weight);
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
