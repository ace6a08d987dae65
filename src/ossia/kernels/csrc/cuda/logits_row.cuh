// A row of logits, of which threads look at those of ids that may come.
#pragma once
#include "common.cuh"

struct LogitsRow {
  const float* logits;
  const u8* set;  // bit i % 8 of byte i / 8 is set if id i may come; if null, all below `end` may
  u32 vocab, end;
  bool has_fours;  // whether four neighbours are loaded at once

  __device__ __forceinline__ LogitsRow(const float* logits, u32 vocab, u32 end, const u8* set)
      : logits(logits), set(set), vocab(vocab), end(end), has_fours(vocab % 4 == 0) {}

  // Groups of four ids, also of those behind `end`: so where a row is cut does not depend on it.
  __device__ __forceinline__ u32 fours() const { return (vocab + 3) / 4; }

  __device__ __forceinline__ bool may_come(u32 id) const { return id < end && (!set || set[id >> 3] >> (id & 7) & 1); }

  // Calls `look` with the ids that may come and their logits, of the groups `from`, `from + step`, ... below `to`, but
  // for those in which all are below `least`. AT_ONCE groups are on their way from memory at a time.
  template <u32 AT_ONCE, typename Look>
  __device__ __forceinline__ void each(u32 from, u32 to, u32 step, Look&& look, float least = MINUS_INFINITY) const {
    to = min(to, (end + 3) / 4);
    if (has_fours) {
      each_loaded<AT_ONCE>(from, to, step, look, least, [&](u32 four) { return ((const float4*)logits)[four]; });
    } else {
      const auto at = [&](u32 id) { return logits[min(id, end - 1)]; };
      each_loaded<1>(from, to, step, look, least, [&](u32 four) { return float4{at(4 * four), at(4 * four + 1), at(4 * four + 2), at(4 * four + 3)}; });
    }
  }

 private:
  template <u32 AT_ONCE, typename Look, typename Load>
  __device__ __forceinline__ void each_loaded(u32 from, u32 to, u32 step, Look& look, float least, Load&& load) const {
    for (u32 first = from; first < to; first += AT_ONCE * step) {
      float4 x[AT_ONCE];
      u32 may[AT_ONCE];
      // No branch between loads: behind the last group it is read again, and not looked at.
#pragma unroll
      for (u32 j = 0; j < AT_ONCE; j++) {
        const u32 four = min(first + j * step, to - 1);
        x[j] = load(four);
        may[j] = set ? set[four >> 1] >> 4 * (four & 1) : 15;
      }
      // Written out: as a loop over a group's four, lanes that look at none make it several times slower.
#pragma unroll
      for (u32 j = 0; j < AT_ONCE; j++) {
        const u32 four = first + j * step, id = 4 * four;
        if (four >= to) break;
        if (fmaxf(fmaxf(x[j].x, x[j].y), fmaxf(x[j].z, x[j].w)) < least) continue;
        const u32 here = end - id < 4 ? may[j] & ((1 << (end - id)) - 1) : may[j];
        if (here & 1) look(id, x[j].x);
        if (here & 2) look(id + 1, x[j].y);
        if (here & 4) look(id + 2, x[j].z);
        if (here & 8) look(id + 3, x[j].w);
      }
    }
  }
};
