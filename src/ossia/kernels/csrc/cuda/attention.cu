// Attention of one new token a sequence: bias, rope, the write of its key and value, and the softmax
// with a sink over the keys in pages. A block serves up to 8 query heads that share a key head, over a
// share of the keys; the shares of a long sequence are joined, in their order, by the block that ends
// last.
//
// Queries are A of mma.m16n8k16 (the lower 8 of 16 rows stay empty), keys are B as they lie in pages. For the
// second product a lane takes 8 dimensions of 4 keys, so column n of its product i is dimension 8 n + i.
//
// Keys and values of 8 bits are floats of 16 bits, too, so both products are of those then; what is written
// is what is read later. A warp takes twice as many keys at once, so that as many bytes are on their way.
#include "e4m3.cuh"

constexpr int DIM = 64, GROUP = 8;
constexpr u32 LEAST = 256;  // keys that one block takes before a second one helps
constexpr u32 MOST_PARTS = 3;

struct Attention {
  const float* qkv;       // (parts, tokens, (heads + 2 kv_heads) * 64)
  const u16* bias[3];     // bfloat16, of q, k and v; null for none
  const float* rope;      // (tokens, 2, 32): cosines, sines
  const u16* sinks;       // bfloat16 (heads,)
  const int* positions;   // (tokens,), negative where there is no token
  const int* table;       // (tokens, groups, width): page numbers
  const int* width;       // a single number, read on the device
  u16* keys;              // bfloat16 or e4m3 (pages, page_size, kv_heads, 64)
  u16* values;            // like keys
  u16* out;               // bfloat16 (tokens, heads * 64)
  float* scratch;         // (tokens, kv_heads, shares, 8, 66)
  u32* arrivals;          // (tokens, kv_heads), zero before and after
  u32 tokens, parts, heads, kv_heads, page_size, window, groups, group;  // window 0: none
};

template <bool FP8>
struct Eight {  // neighbouring numbers of a value
  typedef uint4 Type;
};
template <>
struct Eight<true> {
  typedef uint2 Type;
};
constexpr u32 WARP_BYTES = 4096;  // of the keys and values that a warp takes at once
constexpr u32 VALUES = 2048;      // bytes of keys in front of the values

// STAGED: keys and values go through shared memory, two rounds ahead. Else they go to registers: what shared memory
// a kernel takes, the next one cannot fill with weights meanwhile, and of few sequences that counts for more.
template <int AWARPS, bool FP8, bool STAGED>
__device__ __forceinline__ void attend(const Attention& a) {
  constexpr int ATHREADS = AWARPS * 32;
  constexpr int AT_ONCE = FP8 ? 2 : 1;  // sixteens of keys that a warp takes
  constexpr u32 STEP = 128 * AT_ONCE;  // of which shares are made
  extern __shared__ __align__(16) u8 fetched[];  // [one round or the next][warp][keys, then values][lane]
  __shared__ __align__(16) u16 queries[GROUP][DIM];
  __shared__ float key[DIM], value[DIM];
  __shared__ float peak[AWARPS][GROUP], mass[AWARPS][GROUP];
  __shared__ float said[AWARPS][GROUP][DIM + 1];
  __shared__ float sinks[GROUP];
  __shared__ bool is_last;
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, r = lane >> 2, q = lane & 3;
  dep_go();  // the next kernel fetches weights while this one waits and works
  const u32 kv_head = blockIdx.x, token = blockIdx.y, group = a.heads / a.kv_heads;
  const int position = a.positions[token];
  const u32 past = position < 0 ? 0 : position;
  const u32 first = a.window && past >= a.window ? past - a.window + 1 : 0, count = past - first;
  const u32 each = max(LEAST, ((count + gridDim.z - 1) / gridDim.z + STEP - 1) / STEP * STEP);
  const u32 shares = max(1u, (count + each - 1) / each);
  const bool works = position >= 0 && blockIdx.z < shares;
  const u32 begin = first + blockIdx.z * each, end = min(past, begin + each);
  const bool newest = blockIdx.z == shares - 1;
  const int* table = a.table + (u64)(token * a.groups + a.group) * *a.width;
  auto row = [&](u32 page, u32 k) {
    return ((u64)(page * a.page_size + k % a.page_size) * a.kv_heads + kv_head) * DIM;
  };
  // A warp takes 16 or 32 keys a round. The numbers of pages are there before the rows are asked for, so that no
  // wait follows another; a lane reads only what it has copied itself.
  constexpr u32 ROUND = AWARPS * 16 * AT_ONCE;
  struct Pages {
    u32 key[2 * AT_ONCE], value[4 * AT_ONCE];
  };
  auto key_at = [&](u32 k0, int t) { return k0 + t * 8 + r; };
  auto value_at = [&](u32 k0, int t) { return k0 + t / 2 * 8 + 2 * q + t % 2; };
  auto find = [&](u32 k0) {
    Pages pages;
#pragma unroll
    for (int t = 0; t < 2 * AT_ONCE; t++) pages.key[t] = key_at(k0, t) < end ? table[key_at(k0, t) / a.page_size] : 0;
#pragma unroll
    for (int t = 0; t < 4 * AT_ONCE; t++) pages.value[t] = value_at(k0, t) < end ? table[value_at(k0, t) / a.page_size] : 0;
    return pages;
  };
  const u32 my_place = shared_address(fetched) + warp * WARP_BYTES + lane * 16;
  auto place_of = [&](u32 odd) { return my_place + odd * (AWARPS * WARP_BYTES); };
  uint4 kv[2 * AT_ONCE][FP8 ? 1 : 2];
  typename Eight<FP8>::Type vv[4 * AT_ONCE];
  auto load = [&](const Pages& pages, u32 k0) {
#pragma unroll
    for (int t = 0; t < 2 * AT_ONCE; t++) {
      const u64 at = row(pages.key[t], key_at(k0, t));
      const bool there = key_at(k0, t) < end;
      if constexpr (FP8) {
        kv[t][0] = there ? *(const uint4*)((const u8*)a.keys + at + q * 16) : zero4();
      } else {
        kv[t][0] = there ? *(const uint4*)(a.keys + at + q * 8) : zero4();
        kv[t][1] = there ? *(const uint4*)(a.keys + at + q * 8 + 32) : zero4();
      }
    }
#pragma unroll
    for (int t = 0; t < 4 * AT_ONCE; t++) {
      const u64 at = row(pages.value[t], value_at(k0, t)) + r * 8;
      const bool there = value_at(k0, t) < end;
      if constexpr (FP8) vv[t] = there ? *(const uint2*)((const u8*)a.values + at) : make_uint2(0, 0);
      else vv[t] = there ? *(const uint4*)(a.values + at) : zero4();
    }
  };
  auto copy = [&](const Pages& pages, u32 k0, u32 odd) {
    const u32 to = place_of(odd);
    if (k0 < end) {
#pragma unroll
      for (int t = 0; t < 2 * AT_ONCE; t++) {
        const bool there = key_at(k0, t) < end;
        const u64 at = row(pages.key[t], key_at(k0, t));
        if constexpr (FP8) {
          copy16(to + t * 512, (const u8*)a.keys + at + q * 16, there);
        } else {
          copy16(to + t * 1024, a.keys + at + q * 8, there);
          copy16(to + t * 1024 + 512, a.keys + at + q * 8 + 32, there);
        }
      }
#pragma unroll
      for (int t = 0; t < 4 * AT_ONCE; t++) {
        const bool there = value_at(k0, t) < end;
        const u64 at = row(pages.value[t], value_at(k0, t)) + r * 8;
        if constexpr (FP8) copy8(to + VALUES + t * 256 - lane * 8, (const u8*)a.values + at, there);
        else copy16(to + VALUES + t * 512, a.values + at, there);
      }
    }
    copies_end();
  };
  const u32 mine = begin + warp * (16 * AT_ONCE);
  Pages next;  // of the round to copy next
  if (works) {  // keys of earlier steps need not wait
    const Pages first = find(mine);
    if constexpr (STAGED) {
      const Pages second = find(mine + ROUND);
      next = find(mine + 2 * ROUND);
      copy(first, mine, 0), copy(second, mine + ROUND, 1);
    } else {
      load(first, mine);
    }
  }
  // A thread has two neighbouring dimensions of a head and the two that are 32 further, with which rope
  // pairs them. Biases, sinks and page numbers need not wait; the table of rope must, since the kernels
  // between its own and this one let the next begin before they have waited themselves.
  constexpr int JOBS = (16 * (GROUP + 2) + ATHREADS - 1) / ATHREADS;  // of a thread
  const u32 pair = threadIdx.x % 16 * 2;
  struct Job {
    u32 head, kind, own, bias[2];  // kind: 0 a query, 1 the key, 2 the value
    bool is_query, takes;
  } jobs[JOBS];
  u32 page = 0;
#pragma unroll
  for (int j = 0; j < JOBS; j++) {
    Job& job = jobs[j];
    job.head = (threadIdx.x + j * ATHREADS) / 16;
    const bool is_new = job.head == GROUP || job.head == GROUP + 1;
    job.is_query = job.head < group;
    job.kind = is_new ? job.head - GROUP + 1 : 0, job.own = is_new ? kv_head : kv_head * group + job.head;
    job.takes = works && (job.is_query || (is_new && newest));
    job.bias[0] = job.bias[1] = 0;
    if (!job.takes) continue;
    if (a.bias[job.kind]) {
      const u32* from = (const u32*)(a.bias[job.kind] + job.own * DIM + pair);
      job.bias[0] = from[0], job.bias[1] = from[16];
    }
    if (is_new) page = table[past / a.page_size];
  }
  const float sink = works && threadIdx.x < group ? wide(a.sinks[kv_head * group + threadIdx.x]) : 0.f;
  dep_wait();  // before any way out: kernels behind rely on all before this one being done
  if (!works) return;

  const u32 row_size = (a.heads + 2 * a.kv_heads) * DIM;
#pragma unroll
  for (int j = 0; j < JOBS; j++) {
    const Job& job = jobs[j];
    if (!job.takes) {
      if (job.head < GROUP) *(u32*)&queries[job.head][pair] = *(u32*)&queries[job.head][pair + 32] = 0;
      continue;
    }
    const u32 column = pair + (job.kind == 0 ? job.own : a.heads + (job.kind - 1) * a.kv_heads + job.own) * DIM;
    const float2* turn = (const float2*)(a.rope + token * 64 + pair);
    const float2 cosine = turn[0], sine = turn[16];  // on their way together with the addends
    float2 part[MOST_PARTS][2];
#pragma unroll
    for (u32 p = 0; p < MOST_PARTS; p++) {
      if (p >= a.parts) continue;
      const float2* from = (const float2*)(a.qkv + (u64)(p * a.tokens + token) * row_size + column);
      part[p][0] = from[0], part[p][1] = from[16];
    }
    float x[2] = {}, y[2] = {};
#pragma unroll
    for (u32 p = 0; p < MOST_PARTS; p++) {
      if (p >= a.parts) continue;
      x[0] += part[p][0].x, x[1] += part[p][0].y, y[0] += part[p][1].x, y[1] += part[p][1].y;
    }
    const float c[2] = {cosine.x, cosine.y}, s[2] = {sine.x, sine.y};
#pragma unroll
    for (int i = 0; i < 2; i++) {
      x[i] = rounded(x[i] + (i ? high(job.bias[0]) : low(job.bias[0]))), y[i] = rounded(y[i] + (i ? high(job.bias[1]) : low(job.bias[1])));
      if (job.kind < 2) {
        float turned = rounded(x[i] * c[i] - y[i] * s[i]);
        y[i] = rounded(y[i] * c[i] + x[i] * s[i]), x[i] = turned;
      }
    }
    if (job.is_query) {
      auto packed = [](float first, float second) {
        return FP8 ? pack_halves(first, second) : pack(first, second);
      };
      *(u32*)&queries[job.head][pair] = packed(x[0] * 0.125f, x[1] * 0.125f);
      *(u32*)&queries[job.head][pair + 32] = packed(y[0] * 0.125f, y[1] * 0.125f);
    } else {
      u64 at = row(page, past) + pair;
      u16* pages = job.kind == 1 ? a.keys : a.values;
      float* here = job.kind == 1 ? key : value;
      if constexpr (FP8) {
        const u16 near = to_e4m3(x[0], x[1]), far = to_e4m3(y[0], y[1]);
        *(u16*)((u8*)pages + at) = near, *(u16*)((u8*)pages + at + 32) = far;
        const u32 xs = halves_of(near), ys = halves_of(far);
        x[0] = wide_half(xs), x[1] = wide_half(xs >> 16), y[0] = wide_half(ys), y[1] = wide_half(ys >> 16);
      } else {
        *(u32*)(pages + at) = pack(x[0], x[1]), *(u32*)(pages + at + 32) = pack(y[0], y[1]);
      }
      here[pair] = x[0], here[pair + 1] = x[1], here[pair + 32] = y[0], here[pair + 33] = y[1];
    }
  }
  if (threadIdx.x < group) sinks[threadIdx.x] = sink;
  __syncthreads();

  // Of which a lane has 8 and 8 neighbouring dimensions, as of the keys.
  constexpr u32 NEAR = FP8 ? 16 : 8, FAR = FP8 ? 8 : 32;
  uint4 qa[2] = {*(uint4*)&queries[r][q * NEAR], *(uint4*)&queries[r][FAR + q * NEAR]};
  float m = MINUS_INFINITY, l = 0, acc[8][2] = {};
  if (newest && warp == 0) {  // the new token's own key never leaves the block
    float score = 0;
#pragma unroll
    for (int d = 0; d < 16; d++) {
      const u16 bits = queries[r][q * 16 + d];
      score += (FP8 ? wide_half(bits) : wide(bits)) * key[q * 16 + d];
    }
    score += __shfl_xor_sync(EVERY_LANE, score, 1);
    score += __shfl_xor_sync(EVERY_LANE, score, 2);
    m = score, l = q == 0;
    for (int i = 0; i < 8; i++) acc[i][0] = value[16 * q + i], acc[i][1] = value[16 * q + 8 + i];
  }
  u32 odd = 0;
  for (u32 k0 = mine; k0 < end; k0 += ROUND, odd ^= 1) {
    if constexpr (STAGED) {
      copies_wait<1>();
      const u32 from = place_of(odd);
#pragma unroll
      for (int t = 0; t < 2 * AT_ONCE; t++) {
        if constexpr (FP8) kv[t][0] = shared4(from + t * 512);
        else kv[t][0] = shared4(from + t * 1024), kv[t][1] = shared4(from + t * 1024 + 512);
      }
#pragma unroll
      for (int t = 0; t < 4 * AT_ONCE; t++) {
        if constexpr (FP8) vv[t] = shared2(from + VALUES + t * 256 - lane * 8);
        else vv[t] = shared4(from + VALUES + t * 512);
      }
      copy(next, k0 + 2 * ROUND, odd), next = find(k0 + 3 * ROUND);
    }
    float s[2 * AT_ONCE][4] = {};
#pragma unroll
    for (int t = 0; t < 2 * AT_ONCE; t++) {
      if constexpr (FP8) {
        const u32 w[4] = {kv[t][0].x, kv[t][0].y, kv[t][0].z, kv[t][0].w};
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const u32 near = w[2 * h], far = w[2 * h + 1];
          mma_halves(s[t], qa[h].x, 0, qa[h].y, 0, halves_of(near), halves_of(near >> 16));
          mma_halves(s[t], qa[h].z, 0, qa[h].w, 0, halves_of(far), halves_of(far >> 16));
        }
      } else {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          mma(s[t], qa[h].x, 0, qa[h].y, 0, kv[t][h].x, kv[t][h].y);
          mma(s[t], qa[h].z, 0, qa[h].w, 0, kv[t][h].z, kv[t][h].w);
        }
      }
#pragma unroll
      for (int c = 0; c < 2; c++)
        if (k0 + t * 8 + 2 * q + c >= end) s[t][c] = MINUS_INFINITY;
    }
    auto highest = [&](int t) { return fmaxf(fmaxf(s[t][0], s[t][1]), fmaxf(s[t + 1][0], s[t + 1][1])); };
    float top = highest(0);
    if constexpr (FP8) top = fmaxf(top, highest(2));
    top = fmaxf(top, __shfl_xor_sync(EVERY_LANE, top, 1));
    top = fmaxf(top, __shfl_xor_sync(EVERY_LANE, top, 2));
    top = fmaxf(top, m);
    float fade = expf(m - top);
    m = top;
    l *= fade;
#pragma unroll
    for (int u = 0; u < AT_ONCE; u++) {
      const int t = 2 * u;
      float p00 = expf(s[t][0] - m), p01 = expf(s[t][1] - m);
      float p10 = expf(s[t + 1][0] - m), p11 = expf(s[t + 1][1] - m);
      l += p00 + p01 + p10 + p11;
      if constexpr (FP8) {
        const u32 a0 = pack_halves(p00, p01), a2 = pack_halves(p10, p11);
        const auto* v = vv + 4 * u;
#pragma unroll
        for (int i = 0; i < 8; i += 2) {
          // Dimensions i and i + 1 of two keys and of two.
          const u32 which = i % 4 ? 0x7362 : 0x5140;
          auto word = [&](int k) { return i < 4 ? v[k].x : v[k].y; };
          const u32 low_keys = __byte_perm(word(0), word(1), which);
          const u32 high_keys = __byte_perm(word(2), word(3), which);
#pragma unroll
          for (int j = 0; j < 2; j++) {
            float c[4] = {acc[i + j][0] * fade, acc[i + j][1] * fade, 0, 0};
            mma_halves(c, a0, 0, a2, 0, halves_of(low_keys >> 16 * j), halves_of(high_keys >> 16 * j));
            acc[i + j][0] = c[0], acc[i + j][1] = c[1];
          }
        }
        fade = 1;  // the second sixteen's sums are of the same peak
      } else {
        u32 a0 = pack(p00, p01), a2 = pack(p10, p11);
        const u32 v0[4] = {vv[0].x, vv[0].y, vv[0].z, vv[0].w}, v1[4] = {vv[1].x, vv[1].y, vv[1].z, vv[1].w};
        const u32 v2[4] = {vv[2].x, vv[2].y, vv[2].z, vv[2].w}, v3[4] = {vv[3].x, vv[3].y, vv[3].z, vv[3].w};
#pragma unroll
        for (int i = 0; i < 8; i++) {
          u32 which = i % 2 ? 0x7632 : 0x5410;
          float c[4] = {acc[i][0] * fade, acc[i][1] * fade, 0, 0};
          const u32 b0 = __byte_perm(v0[i / 2], v1[i / 2], which), b1 = __byte_perm(v2[i / 2], v3[i / 2], which);
          mma(c, a0, 0, a2, 0, b0, b1);
          acc[i][0] = c[0], acc[i][1] = c[1];
        }
      }
    }
    if constexpr (!STAGED) {
      if (k0 + ROUND < end) load(find(k0 + ROUND), k0 + ROUND);
    }
  }
  l += __shfl_xor_sync(EVERY_LANE, l, 1);
  l += __shfl_xor_sync(EVERY_LANE, l, 2);
  if (q == 0) peak[warp][r] = m, mass[warp][r] = l;
#pragma unroll
  for (int i = 0; i < 8; i++) said[warp][r][16 * q + i] = acc[i][0], said[warp][r][16 * q + 8 + i] = acc[i][1];
  __syncthreads();

  const u32 place = token * a.kv_heads + kv_head;
  float* own = a.scratch + (u64)(place * gridDim.z + blockIdx.z) * GROUP * (DIM + 2);
  auto finish = [&](u32 g, u32 d, float top, float sum, float out) {
    float sink = sinks[g], peak = fmaxf(top, sink), fade = expf(top - peak);
    out = out * fade / (sum * fade + expf(sink - peak));
    a.out[(u64)(token * a.heads + kv_head * group + g) * DIM + d] = (u16)pack(out, 0.f);
  };
  for (u32 i = threadIdx.x; i < group * DIM; i += ATHREADS) {
    u32 g = i / DIM, d = i % DIM;
    float top = peak[0][g], sum = 0, out = 0;
#pragma unroll
    for (int w = 1; w < AWARPS; w++) top = fmaxf(top, peak[w][g]);
#pragma unroll
    for (int w = 0; w < AWARPS; w++) {
      float fade = expf(peak[w][g] - top);
      sum += mass[w][g] * fade, out += said[w][g][d] * fade;
    }
    if (shares == 1) {
      finish(g, d, top, sum, out);
    } else {
      own[g * (DIM + 2) + d] = out;
      if (d == 0) own[g * (DIM + 2) + DIM] = top, own[g * (DIM + 2) + DIM + 1] = sum;
    }
  }
  if (shares == 1) return;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    is_last = atomicAdd(a.arrivals + place, 1) == shares - 1;
    if (is_last) a.arrivals[place] = 0;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  const volatile float* all = a.scratch + (u64)place * gridDim.z * GROUP * (DIM + 2);
  for (u32 i = threadIdx.x; i < group * DIM; i += ATHREADS) {
    u32 g = i / DIM, d = i % DIM, stride = GROUP * (DIM + 2), at = g * (DIM + 2);
    float top = MINUS_INFINITY, sum = 0, out = 0;
    for (u32 s = 0; s < shares; s++) top = fmaxf(top, all[s * stride + at + DIM]);
    for (u32 s = 0; s < shares; s++) {
      float fade = expf(all[s * stride + at + DIM] - top);
      sum += all[s * stride + at + DIM + 1] * fade, out += all[s * stride + at + d] * fade;
    }
    finish(g, d, top, sum, out);
  }
}

// Blocks of eight warps are done soonest; of smaller ones more fit a multiprocessor, which counts where there are
// many: what each does beside its keys takes its time, and all run at once.
extern "C" __global__ void __launch_bounds__(256) attention_8(const __grid_constant__ Attention a) {
  attend<8, false, false>(a);
}
extern "C" __global__ void __launch_bounds__(128, 5) attention_4(const __grid_constant__ Attention a) {
  attend<4, false, true>(a);
}
extern "C" __global__ void __launch_bounds__(64, 10) attention_2(const __grid_constant__ Attention a) {
  attend<2, false, true>(a);
}
extern "C" __global__ void __launch_bounds__(256) attention_fp8_8(const __grid_constant__ Attention a) {
  attend<8, true, false>(a);
}
extern "C" __global__ void __launch_bounds__(128, 4) attention_fp8_4(const __grid_constant__ Attention a) {
  attend<4, true, true>(a);
}
extern "C" __global__ void __launch_bounds__(64, 8) attention_fp8_2(const __grid_constant__ Attention a) {
  attend<2, true, true>(a);
}
