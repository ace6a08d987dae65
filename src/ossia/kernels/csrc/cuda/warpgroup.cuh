// Hopper's warpgroup products of FP4 weights, for wide.cu and dozens.cu.
//
// Weights are A, from registers: a warp expands its 16 rows as in routed.cu. Slots are B, from shared
// memory, in the order of k in which those registers hold it: within each 32, number 16 m + 8 h + 2 q + j
// is k = 8 q + 4 m + 2 h + j. That is how operands are stored, times 2^64.
#pragma once
#include "experts.cuh"

__device__ __forceinline__ void mma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void mma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N>
__device__ __forceinline__ void mma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

// What was copied or written to shared memory can be seen by products.
__device__ __forceinline__ void operands_ready() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Nothing that reads or writes these registers is moved across.
template <int NT>
__device__ __forceinline__ void hold(float (&d)[NT][4]) {
#pragma unroll
  for (int t = 0; t < NT; t++)
#pragma unroll
    for (int c = 0; c < 4; c++) asm volatile("" : "+f"(d[t][c])::"memory");
}

// Rows of 128 bytes whose pieces of 16 are swapped by the row's number (the 128-byte swizzle).
// `low` of what lies n bytes further is n / 16 more.
__device__ __forceinline__ u32 operand_low(u32 address) { return address >> 4 | 1u << 16; }
__device__ __forceinline__ u64 operand_at(u32 low) {
  u64 r;
  asm("mov.b64 %0, {%1, %2};" : "=l"(r) : "r"(low), "n"(64u | 1u << 30));
  return r;
}

// Half a unit of a lane: 32 k, the registers of two products.
template <int HALF>
__device__ __forceinline__ void expand(u32 (&A)[2][4], u32 first, u32 second, u32 scales) {
  // Of a scale s (s + 64) << 7, twice: 2^(s - 63) as a pair of bfloat16.
  const u32 above = __byte_perm(scales, 0, HALF ? 0x4441 : 0x4440) * 0x800080u + 0x20002000u;
  const u32 below = __byte_perm(scales, 0, HALF ? 0x4443 : 0x4442) * 0x800080u + 0x20002000u;
#pragma unroll
  for (int m = 0; m < 2; m++) {
    fp4_operands(A[m], m ? second : first);
#pragma unroll
    for (int i = 0; i < 4; i++) A[m][i] = times(A[m][i], i % 2 ? below : above);
  }
}

// Where a column of k lies in its row.
__device__ __forceinline__ u32 place_of(u32 column) {
  const u32 k = column & 31;
  return (column & ~31u) + (k >> 2 & 1) * 16 + (k >> 1 & 1) * 8 + (k >> 3) * 2 + (k & 1);
}

// Of pairs of bfloat16, NaN where one of the two is.
__device__ __forceinline__ u32 lesser(u32 a, u32 b) {
  u32 r;
  asm("min.NaN.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}
__device__ __forceinline__ u32 greater(u32 a, u32 b) {
  u32 r;
  asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

// x sigmoid(alpha x), to about 22 bits; it is rounded to 8 anyway.
__device__ __forceinline__ float swish(float x, float alpha) {
  float e, r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(x * (alpha * -1.4426950408889634f)));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(1.f + e));
  return x * r;
}
constexpr u32 X_SCALES = 0x5F805F80u;  // X_SCALE as a pair of bfloat16

// Two gates and two ups, as pairs of bfloat16, to the operands of `down`; `limit` is a pair, too.
__device__ __forceinline__ u32 swiglu(u32 gates, u32 ups, float alpha, u32 limit) {
  gates = lesser(gates, limit), ups = greater(lesser(ups, limit), limit ^ 0x80008000u);
  const float first = swish(low(gates), alpha) * (low(ups) + 1.f), second = swish(high(gates), alpha) * (high(ups) + 1.f);
  return times(pack(first, second), X_SCALES);
}

// Of a pair of bfloat16 the lower one to a place, the other so many bytes further.
__device__ __forceinline__ void put_pair(u32 to, u32 further, u32 pair) {
  asm volatile("st.shared.u16 [%0],%1;" ::"r"(to), "h"((u16)pair) : "memory");
  asm volatile("st.shared.u16 [%0],%1;" ::"r"(to + further), "h"((u16)(pair >> 16)) : "memory");
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// d += a . b for a warpgroup: 64 rows, 24 to 128 slots, 16 k.
#define SUMS(t) "+f"(d[t][0]), "+f"(d[t][1]), "+f"(d[t][2]), "+f"(d[t][3])
__device__ __forceinline__ void warpgroup_mma(float (&d)[3][4], const u32 (&a)[4], u64 b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n24k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11}, "
      "{%12, %13, %14, %15}, %16, 1, 1, 1, 0;"
      : SUMS(0), SUMS(1), SUMS(2)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
__device__ __forceinline__ void warpgroup_mma(float (&d)[4][4], const u32 (&a)[4], u64 b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "
      "{%16, %17, %18, %19}, %20, 1, 1, 1, 0;"
      : SUMS(0), SUMS(1), SUMS(2), SUMS(3)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
__device__ __forceinline__ void warpgroup_mma(float (&d)[8][4], const u32 (&a)[4], u64 b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, 1, 1, 1, 0;"
      : SUMS(0), SUMS(1), SUMS(2), SUMS(3), SUMS(4), SUMS(5), SUMS(6), SUMS(7)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
__device__ __forceinline__ void warpgroup_mma(float (&d)[12][4], const u32 (&a)[4], u64 b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47}, "
      "{%48, %49, %50, %51}, %52, 1, 1, 1, 0;"
      : SUMS(0), SUMS(1), SUMS(2), SUMS(3), SUMS(4), SUMS(5), SUMS(6), SUMS(7),
        SUMS(8), SUMS(9), SUMS(10), SUMS(11)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
__device__ __forceinline__ void warpgroup_mma(float (&d)[16][4], const u32 (&a)[4], u64 b) {
  asm volatile(
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, 1, 1, 1, 0;"
      : SUMS(0), SUMS(1), SUMS(2), SUMS(3), SUMS(4), SUMS(5), SUMS(6), SUMS(7),
        SUMS(8), SUMS(9), SUMS(10), SUMS(11), SUMS(12), SUMS(13), SUMS(14), SUMS(15)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
#undef SUMS
#endif
