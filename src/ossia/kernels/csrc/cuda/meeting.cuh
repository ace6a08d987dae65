// A meeting of all of a kernel's blocks, each of which has a multiprocessor: what a block has written before it
// comes, the others see after they have waited. One thread of each block calls these.
#pragma once
#include "common.cuh"

// `arrivals` is a multiple of the grid's size before and after. Returns how many to wait for.
__device__ __forceinline__ u64 come(u64* arrivals) {
  u64 before;
  asm volatile("atom.add.release.gpu.global.u64 %0,[%1],1;" : "=l"(before) : "l"(arrivals) : "memory");
  return (before / gridDim.x + 1) * gridDim.x;
}
__device__ __forceinline__ void await(const u64* arrivals, u64 all) {
  u64 now;
  do asm volatile("ld.acquire.gpu.global.u64 %0,[%1];" : "=l"(now) : "l"(arrivals) : "memory");
  while (now < all);
}
