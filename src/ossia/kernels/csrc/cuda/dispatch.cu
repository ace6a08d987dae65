// Which tokens each expert gets: for products of more tokens than one block holds (routed.cu).
//
// Slot token * top_k + i is a token's i-th expert. Slots are sorted by expert, and an expert's slots
// are cut into items of at most `width`. One block does it all; the order of an expert's slots is that
// of their arrival and changes no sum: every slot is a column of its own, added up in the same way
// whatever the item's size.
#include "experts.cuh"

struct Dispatch {
  const float* logits;   // (tokens, experts); null where ids and weights are given
  const int* positions;  // (tokens,), negative where there is no token; null: all are there
  int* ids;              // (tokens * top_k,)
  float* weights;        // (tokens * top_k,)
  int* slots;            // (tokens * top_k,) by expert
  int4* items;           // expert, its first place in `slots`, how many slots
  int* num_items;
  u32 tokens, experts, top_k, width;
};

extern "C" __global__ void __launch_bounds__(1024) dispatch(const __grid_constant__ Dispatch a) {
  __shared__ u32 count[MAX_EXPERTS], place[MAX_EXPERTS], item[MAX_EXPERTS];
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x / 32;
  if (threadIdx.x < MAX_EXPERTS) count[threadIdx.x] = 0;
  __syncthreads();
  dep_wait();
  dep_go();
  auto there = [&](u32 token) { return !a.positions || a.positions[token] >= 0; };
  for (u32 token = warp; a.logits && token < a.tokens; token += warps) {
    if (!there(token)) continue;
    int id;
    float weight;
    top_experts(a.logits + token * a.experts, a.experts, a.top_k, id, weight);
    if (lane < a.top_k) a.ids[token * a.top_k + lane] = id, a.weights[token * a.top_k + lane] = weight;
  }
  __syncthreads();
  const u32 all = a.tokens * a.top_k;
  for (u32 slot = threadIdx.x; slot < all; slot += blockDim.x)
    if (there(slot / a.top_k)) atomicAdd(&count[a.ids[slot]], 1);
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
  for (u32 slot = threadIdx.x; slot < all; slot += blockDim.x)
    if (there(slot / a.top_k)) a.slots[atomicAdd(&place[a.ids[slot]], 1)] = slot;
}
