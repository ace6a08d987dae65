// A matrix in e4m3 (kernels/fp8/format.py) times one to four tokens.
//
//   y[token][row] = scale[row] * sum over k of w[row][k] x[token][k], float32
//
// As in gemv.cu a warp takes a piece of a row at a time, so that whole lines are on their way; here of two
// rows. Lane 4 r + q has a stretch of k of its own, which tensor cores multiply all the same: its weights
// are in row r of A, its operands in column r of B. So element (r, r) of the product is what four lanes'
// stretches give, and the others, which mix stretches, are left. Half of A's rows are the second row's.
#include "common.cuh"

constexpr u32 LOADS = 6, PIECE = LOADS * 32, FWARPS = 16;  // a piece: at most so many chunks of 16 k

struct Fp8 {
  const uint4* w;             // e4m3 (rows, k), in pairs
  const float* scales;        // (rows,)
  const uint4* x;             // bfloat16 (tokens, k)
  float* y;                   // (tokens, rows)
  u32 rows, chunks, tokens;   // chunks: of 16 k, an even number
};

// Four codes as bfloat16. In the place of a bfloat16's exponent a code means its value times 2^-120.
__device__ __forceinline__ void widen(u32 codes, u32& even, u32& odd) {
  constexpr u32 LARGE = 0x7b807b80;  // 2^120
  even = times((codes << 4 & 0x07f007f0) | (codes << 8 & 0x80008000), LARGE);
  odd = times((codes >> 4 & 0x07f007f0) | (codes & 0x80008000), LARGE);
}

template <int TOKENS>
__device__ __forceinline__ void fp8(const Fp8& a) {
  extern __shared__ uint4 xs[];  // [token][2][chunk]: what meets a chunk's even codes, and its odd ones
  const u32 lane = threadIdx.x & 31, warp = threadIdx.x >> 5, stride = 2 * gridDim.x * FWARPS;
  const u32 pieces = (a.chunks + PIECE - 1) / PIECE;
  u32 row = 2 * (warp * gridDim.x + blockIdx.x), piece = 0;
  const u64 once = read_once();
  u32 begin, count;  // chunks of the piece whose weights are on their way
  uint4 held[2][LOADS];
  float scale;  // of the first row in the lower lanes, of the second in the upper ones
  auto load = [&]() {
    begin = share(a.chunks, piece, pieces), count = share(a.chunks, piece + 1, pieces) - begin;
#pragma unroll
    for (u32 h = 0; h < 2; h++) {
      // A row beyond the last repeats it and is not stored.
      const uint4* from = a.w + (u64)min(row + h, a.rows - 1) * a.chunks + begin + lane;
#pragma unroll
      for (u32 i = 0; i < LOADS; i++)
        held[h][i] = lane + 32 * i < count ? stream(from + 32 * i, once) : zero4();
    }
    scale = a.scales[min(row + lane / 16, a.rows - 1)];
  };
  if (row < a.rows) load();  // weights need not wait
  dep_go();
  dep_wait();
  for (u32 i = threadIdx.x; i < TOKENS * 2 * a.chunks; i += FWARPS * 32) {
    // Of 32 k come 8 of the first chunk's even codes, 8 of the second's, and then of their odd ones.
    const u32 token = i / (2 * a.chunks), part = i % 4;
    const u32 chunk = (i - token * 2 * a.chunks) / 4 * 2 + part % 2;
    xs[(token * 2 + part / 2) * a.chunks + chunk] = token < a.tokens ? a.x[i] : zero4();
  }
  __syncthreads();
  float sum[TOKENS][4] = {};
  while (row < a.rows) {
#pragma unroll
    for (u32 i = 0; i < LOADS; i++) {
      if (32 * i >= count) break;
      const u32 chunk = min(begin + lane + 32 * i, a.chunks - 1);  // beyond the piece weights are zeros
      const uint4 *first = xs + chunk, *second = first + a.chunks;
      const u32 upper[4] = {held[0][i].x, held[0][i].y, held[0][i].z, held[0][i].w};
      const u32 lower[4] = {held[1][i].x, held[1][i].y, held[1][i].z, held[1][i].w};
#pragma unroll
      for (u32 j = 0; j < 4; j += 2) {
        u32 w[2][4];
#pragma unroll
        for (u32 c = 0; c < 2; c++) {
          widen(upper[j + c], w[c][0], w[c][2]);
          widen(lower[j + c], w[c][1], w[c][3]);
        }
#pragma unroll
        for (u32 t = 0; t < TOKENS; t++) {
          const uint2 even = ((const uint2*)(first + t * 2 * a.chunks))[j / 2];
          const uint2 odd = ((const uint2*)(second + t * 2 * a.chunks))[j / 2];
          mma(sum[t], w[0][0], w[0][1], w[0][2], w[0][3], even.x, odd.x);
          mma(sum[t], w[1][0], w[1][1], w[1][2], w[1][3], even.y, odd.y);
        }
      }
    }
    const u32 done = row + lane / 16;
    const float factor = scale;
    const bool whole = ++piece == pieces;
    if (whole) piece = 0, row += stride;
    if (row < a.rows) load();
    if (!whole) continue;
    const u32 r = lane >> 2;
    const bool diagonal = (lane & 3) == r >> 1;
#pragma unroll
    for (u32 t = 0; t < TOKENS; t++) {
      const float of_first = !diagonal ? 0.f : r & 1 ? sum[t][1] : sum[t][0];
      const float of_second = !diagonal ? 0.f : r & 1 ? sum[t][3] : sum[t][2];
      const float given = lane < 16 ? of_second : of_first, kept = lane < 16 ? of_first : of_second;
      float total = kept + __shfl_xor_sync(EVERY_LANE, given, 16);
      for (int o = 8; o; o >>= 1) total += __shfl_xor_sync(EVERY_LANE, total, o);
      if (lane % 16 == 0 && done < a.rows && t < a.tokens) a.y[(u64)t * a.rows + done] = total * factor;
      sum[t][0] = sum[t][1] = sum[t][2] = sum[t][3] = 0;
    }
  }
}

extern "C" __global__ void __launch_bounds__(512, 1) fp8_1(const __grid_constant__ Fp8 a) { fp8<1>(a); }
extern "C" __global__ void __launch_bounds__(512, 1) fp8_2(const __grid_constant__ Fp8 a) { fp8<2>(a); }
extern "C" __global__ void __launch_bounds__(512, 1) fp8_4(const __grid_constant__ Fp8 a) { fp8<4>(a); }
