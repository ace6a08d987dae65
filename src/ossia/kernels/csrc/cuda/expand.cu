// Relaid matrices, one behind the other, as bfloat16 rows in order: for the vendor's products.
#include "experts.cuh"

struct Expand {
  const uint4* blocks;  // (tiles, units, 32)
  const u32* scales;    // (tiles, units, 8)
  u16* out;             // bfloat16 (tiles * 16, columns)
  u32 tiles, units, columns, paired;
};

extern "C" __global__ void __launch_bounds__(256) expand(const __grid_constant__ Expand a) {
  const u32 unit = (blockIdx.x * 256 + threadIdx.x) / 32, lane = threadIdx.x & 31, r = lane >> 2, q = lane & 3;
  if (unit >= a.tiles * a.units) return;
  const u32 tile = unit / a.units, column = (unit - tile * a.units) * 64 + q * 8;
  const uint4 words = stream(a.blocks + (u64)unit * 32 + lane, read_once());
  const u32 scales = a.scales[unit * 8 + r], w[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int half = 0; half < 2; half++) {
    if (column + half * 32 >= a.columns) break;
    u32 A[2][4];
    fp4_operands(A[0], w[half * 2]), fp4_operands(A[1], w[half * 2 + 1]);
#pragma unroll
    for (int below = 0; below < 2; below++) {
      const float power = __uint_as_float((scales >> (16 * below + 8 * half) & 255) << 23);
      u32 out[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const u32 pair = A[i / 2][i % 2 * 2 + below];  // values times 2^-126
        float x = low(pair) * 8.507059173023462e37f, y = high(pair) * 8.507059173023462e37f;
        out[i] = pack(x * power, y * power);
      }
      u32 row = tile * 16 + (a.paired ? 2 * r + below : r + 8 * below);
      *(uint4*)(a.out + (u64)row * a.columns + column + half * 32) = make_uint4(out[0], out[1], out[2], out[3]);
    }
  }
}
