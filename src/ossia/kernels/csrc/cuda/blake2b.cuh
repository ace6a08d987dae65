// BLAKE2b (RFC 7693) of three numbers: the hash behind ossia/engine/randomness.py.
#pragma once
#include "common.cuh"

// To the right, from 64 bits.
__device__ __forceinline__ u64 turned(u64 x, int by) { return x >> by | x << (64 - by); }

__device__ __forceinline__ void mix(u64 (&v)[16], int a, int b, int c, int d, u64 x, u64 y) {
  v[a] += v[b] + x, v[d] = turned(v[d] ^ v[a], 32);
  v[c] += v[d], v[b] = turned(v[b] ^ v[c], 24);
  v[a] += v[b] + y, v[d] = turned(v[d] ^ v[a], 16);
  v[c] += v[d], v[b] = turned(v[b] ^ v[c], 63);
}

// The number in [0, 1) that draws one token: of a digest of 8 bytes the upper 53 bits. `randomness.uniform`
// says what the arguments are; they are hashed as 24 bytes, for the person "ossia.draw".
__device__ __forceinline__ double uniform_of(u64 seed, u64 continuation, u64 position) {
  constexpr u64 START[8] = {
      0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
      0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
  constexpr u64 PARAMETERS = 8 | 1 << 16 | 1 << 24;  // bytes of the digest, fanout and depth of one
  constexpr u64 PERSON[2] = {0x72642e616973736f, 0x7761};
  constexpr u8 ORDER[10][16] = {
      {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
      {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
      {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
      {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
      {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};
  const u64 m[16] = {seed, continuation, position};
  u64 v[16];
#pragma unroll
  for (int i = 0; i < 8; i++) v[i] = v[i + 8] = START[i];
  v[0] ^= PARAMETERS, v[6] ^= PERSON[0], v[7] ^= PERSON[1];
  v[12] ^= 24, v[14] = ~v[14];  // so many bytes in all, in the last block
#pragma unroll
  for (int round = 0; round < 12; round++) {
    const u8(&at)[16] = ORDER[round % 10];
    mix(v, 0, 4, 8, 12, m[at[0]], m[at[1]]), mix(v, 1, 5, 9, 13, m[at[2]], m[at[3]]);
    mix(v, 2, 6, 10, 14, m[at[4]], m[at[5]]), mix(v, 3, 7, 11, 15, m[at[6]], m[at[7]]);
    mix(v, 0, 5, 10, 15, m[at[8]], m[at[9]]), mix(v, 1, 6, 11, 12, m[at[10]], m[at[11]]);
    mix(v, 2, 7, 8, 13, m[at[12]], m[at[13]]), mix(v, 3, 4, 9, 14, m[at[14]], m[at[15]]);
  }
  const u64 digest = START[0] ^ PARAMETERS ^ v[0] ^ v[8];
  return (double)(digest >> 11) * 0x1p-53;
}
