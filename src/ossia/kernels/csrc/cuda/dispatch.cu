// Which tokens each expert gets: for products of more tokens than one block holds (routed.cu).
//
// Slot token * top_k + i is a token's i-th expert. Slots are sorted by expert, and an expert's slots
// are cut into items of at most `width`. One block does it all; the order of an expert's slots is that
// of their arrival and changes no sum: every slot is a column of its own, added up in the same way
// whatever the item's size.
#include "experts.cuh"

struct Dispatch {
  const float* logits;   // (tokens, experts); null where ids and weights are given
  const u16* bias;       // bfloat16 (experts,), added to `scale` times the logits, and the sums rounded; null for zeros
  const int* positions;  // (tokens,), negative where there is no token; null: all are there
  int* ids;              // (tokens * top_k,)
  float* weights;        // (tokens * top_k,)
  int* slots;            // (tokens * top_k,) by expert
  int4* items;           // expert, its first place in `slots`, how many slots
  int* num_items;
  u32 tokens, experts, top_k, width;
  float scale;
};

__device__ __forceinline__ bool is_there(const Dispatch& a, u32 token) { return !a.positions || a.positions[token] >= 0; }

// Chooses for every `warps`-th token from the first one on, and counts each expert's slots if it is asked to. A
// warp has a token at a time, and the next one's logits on their way.
template <int WORDS>
__device__ __forceinline__ void choose_all(const Dispatch& a, u32 first, u32 warps, u32* count) {
  const u32 lane = threadIdx.x & 31;
  float now[WORDS] = {}, next[WORDS] = {}, bias[WORDS] = {};
#pragma unroll
  for (int j = 0; j < WORDS; j++)
    if (a.bias && lane + 32 * j < a.experts) bias[j] = wide(a.bias[lane + 32 * j]);
  int here = -1, follows = -1;
  auto fetch = [&](u32 token) {  // of absent tokens, too: their rows are there
    if (token >= a.tokens) return;
    load_logits(next, a.logits + token * a.experts, a.experts);
    follows = a.positions ? a.positions[token] : 0;
  };
  fetch(first);
  for (u32 token = first; token < a.tokens; token += warps) {
#pragma unroll
    for (int j = 0; j < WORDS; j++) now[j] = rounded(next[j] * a.scale + bias[j]);
    here = follows;
    fetch(token + warps);
    if (here < 0) continue;
    int id;
    float weight;
    top_of(now, a.experts, a.top_k, id, weight);
    if (lane < a.top_k) {
      a.ids[token * a.top_k + lane] = id, a.weights[token * a.top_k + lane] = weight;
      if (count) atomicAdd(&count[id], 1);
    }
  }
}

__device__ __forceinline__ void choose_by_experts(const Dispatch& a, u32 first, u32 warps, u32* count) {
  if (a.experts <= 32) {
    choose_all<1>(a, first, warps, count);
  } else if (a.experts <= 128) {
    choose_all<4>(a, first, warps, count);
  } else {
    choose_all<MAX_EXPERTS / 32>(a, first, warps, count);
  }
}

// The choice alone, for so many tokens that one block is slower than a kernel more.
extern "C" __global__ void __launch_bounds__(256) choose(const __grid_constant__ Dispatch a) {
  dep_wait();
  dep_go();
  const u32 warps = blockDim.x / 32;
  choose_by_experts(a, blockIdx.x * warps + (threadIdx.x >> 5), gridDim.x * warps, nullptr);
}

// Calls f(slot, its expert) for all slots of tokens that are there. A thread has four on their way.
template <typename F>
__device__ __forceinline__ void each_slot(const Dispatch& a, F f) {
  const u32 all = a.tokens * a.top_k;
  for (u32 first = threadIdx.x; first < all; first += 4 * blockDim.x) {
    int ids[4];
    bool there[4];
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
      const u32 slot = first + i * blockDim.x;
      there[i] = slot < all && is_there(a, slot / a.top_k);
      ids[i] = slot < all ? a.ids[slot] : 0;
    }
#pragma unroll
    for (u32 i = 0; i < 4; i++)
      if (there[i]) f(first + i * blockDim.x, ids[i]);
  }
}

extern "C" __global__ void __launch_bounds__(1024) dispatch(const __grid_constant__ Dispatch a) {
  __shared__ u32 count[MAX_EXPERTS], place[MAX_EXPERTS], item[MAX_EXPERTS];
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  if (threadIdx.x < MAX_EXPERTS) count[threadIdx.x] = 0;
  __syncthreads();
  dep_wait();
  dep_go();
  if (!a.logits) {
    each_slot(a, [&](u32, int id) { atomicAdd(&count[id], 1); });
  } else {
    choose_by_experts(a, warp, blockDim.x / 32, count);
  }
  __syncthreads();
  if (warp == 0) {  // sums of all before: of slots and of items
    u32 slots = 0, items = 0;
    for (u32 first = 0; first < a.experts; first += 32) {
      u32 e = first + lane, n = e < a.experts ? count[e] : 0, m = (n + a.width - 1) / a.width;
      u32 slots_to = n, items_to = m;
      for (u32 o = 1; o < 32; o *= 2) {
        u32 x = __shfl_up_sync(EVERY_LANE, slots_to, o), y = __shfl_up_sync(EVERY_LANE, items_to, o);
        if (lane >= o) slots_to += x, items_to += y;
      }
      if (e < a.experts) place[e] = slots + slots_to - n, item[e] = items + items_to - m;
      slots += __shfl_sync(EVERY_LANE, slots_to, 31), items += __shfl_sync(EVERY_LANE, items_to, 31);
    }
    if (lane == 0) *a.num_items = items;
  }
  __syncthreads();
  for (u32 e = threadIdx.x; e < a.experts; e += blockDim.x)
    for (u32 i = 0, n = count[e]; i * a.width < n; i++)
      a.items[item[e] + i] = make_int4(e, place[e] + i * a.width, min(a.width, n - i * a.width), 0);
  __syncthreads();
  each_slot(a, [&](u32 slot, int id) { a.slots[atomicAdd(&place[id], 1)] = slot; });
}
