// The most likely token of each row, the lowest id among equals: blocks look at slices of the
// vocabulary, the last to end looks at what they found, and feeds the token and its position back.
#include "common.cuh"

struct Argmax {
  const float* logits;  // (tokens, vocab)
  u64* best;            // (tokens, slices), scratch
  u32* arrivals;        // (tokens,), zero before and after
  int* ids;             // (tokens,): the next step's tokens
  int* positions;       // (tokens,): advanced where not negative
  int* out;             // (2, 2, tokens), by the parity of the position: what was drawn, and the bits of its logit
  u32 tokens, vocab, end;  // ids below `end` are valid
};

extern "C" __global__ void __launch_bounds__(256) argmax(const __grid_constant__ Argmax a) {
  __shared__ u64 found[8];
  __shared__ bool is_last;
  const u32 token = blockIdx.y;
  dep_go();
  dep_wait();
  u64 best = 0;
  const float* row = a.logits + (u64)token * a.vocab;
  auto look = [&](u32 i, float logit) { best = max(best, (u64)ordered(logit) << 32 | (u32)~i); };
  const u32 fours = a.vocab % 4 ? 0 : a.end / 4;  // rows of whole fours lie where four are loaded at once
  const u32 begin = share(fours, blockIdx.x, gridDim.x), end = share(fours, blockIdx.x + 1, gridDim.x);
#pragma unroll 4
  for (u32 i = begin + threadIdx.x; i < end; i += 256) {
    const float4 logits = ((const float4*)row)[i];
    look(4 * i, logits.x), look(4 * i + 1, logits.y), look(4 * i + 2, logits.z), look(4 * i + 3, logits.w);
  }
  for (u32 i = 4 * fours + blockIdx.x * 256 + threadIdx.x; i < a.end; i += gridDim.x * 256) look(i, row[i]);
  best = warp_max(best);
  if ((threadIdx.x & 31) == 0) found[threadIdx.x >> 5] = best;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int w = 1; w < 8; w++) best = max(best, found[w]);
    a.best[token * gridDim.x + blockIdx.x] = best;
    __threadfence();
    is_last = atomicAdd(a.arrivals + token, 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (!is_last || threadIdx.x >= 32) return;
  __threadfence();
  best = 0;
  for (u32 i = threadIdx.x; i < gridDim.x; i += 32) best = max(best, ((volatile u64*)a.best)[token * gridDim.x + i]);
  best = warp_max(best);
  if (threadIdx.x == 0) {
    a.arrivals[token] = 0;
    const int id = ~(u32)best, position = a.positions[token];
    if (position < 0) return;  // what the step before has left may not be read yet
    int* out = a.out + (position & 1) * 2 * a.tokens + token;
    out[0] = id, out[a.tokens] = __float_as_int(unordered(best >> 32));
    a.ids[token] = id, a.positions[token] = position + 1;
  }
}
