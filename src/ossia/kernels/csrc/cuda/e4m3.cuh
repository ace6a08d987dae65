// Floats of 8 bits (e4m3: no infinity, 448 at most, one NaN of each sign), two at a time, the first in the
// low half. Each is a float of 16 bits, too. Devices before 8.9 have no instruction for them.
#pragma once
#include "common.cuh"

// A float's nearest one, ties to even; beyond 448 it is 448, and NaN stays NaN.
__device__ __forceinline__ u32 nearest_e4m3(float x) {
  const u32 bits = __float_as_uint(x), sign = bits >> 24 & 0x80, size = bits & 0x7fffffff;
  if (size > 0x7f800000) return 0x7f;
  if (size >= __float_as_uint(448.f)) return sign | 0x7e;
  // Below 2^-6 numbers are multiples of 2^-9, the last place of a float of 2^14.
  if (size < __float_as_uint(1.f / 64)) return sign | (__float_as_uint(__uint_as_float(size) + 16384.f) & 15);
  return sign | (((size + 0x7ffff + (size >> 20 & 1)) >> 20) - (120 << 3));
}

__device__ __forceinline__ u16 to_e4m3(float first, float second) {
#if __CUDA_ARCH__ >= 890
  u16 r;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(r) : "f"(second), "f"(first));
  return r;
#else
  return nearest_e4m3(first) | nearest_e4m3(second) << 8;
#endif
}

__device__ __forceinline__ u32 halves_of(u16 pair) {
  u32 r;
#if __CUDA_ARCH__ >= 890
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(r) : "h"(pair));
#else
  const u32 apart = __byte_perm(pair, 0, 0x1404);  // each in the upper byte of its half
  const u32 nan = (((apart & 0x7f007f00) + 0x01000100) >> 15 & 0x00010001) * 0x7e00;
  // With the exponent in the place of a longer one this is 2^-8 times the number.
  const u32 small = (apart & 0x80008000) | (apart & 0x7f007f00) >> 1;
  asm("mul.f16x2 %0, %1, %2;" : "=r"(r) : "r"(small), "r"(0x5c005c00));
  r |= nan;
#endif
  return r;
}

// Two floats rounded to 16 bits, the first in the low half, and back.
__device__ __forceinline__ u32 pack_halves(float first, float second) {
  u32 r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(second), "f"(first));
  return r;
}
__device__ __forceinline__ float wide_half(u16 bits) {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(bits));
  return r;
}

__device__ __forceinline__ void mma_halves(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
