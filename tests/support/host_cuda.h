// Enough of CUDA to run a kernel's blocks on the host, one after the other, a thread for each of a block's.
#pragma once
#include <algorithm>
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#define __device__
#define __global__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(n) alignas(n)
using std::max;
using std::min;

struct Three { unsigned x, y, z; };
inline thread_local Three threadIdx;
inline Three blockIdx, gridDim, blockDim;
struct float4 { float x, y, z, w; };
struct float2 { float x, y; };
struct uint4 { unsigned x, y, z, w; };
struct uint2 { unsigned x, y; };
struct int4 { int x, y, z, w; };
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

namespace host {
inline std::unique_ptr<std::barrier<>> all;
inline std::vector<std::unique_ptr<std::barrier<>>> warps;
inline std::uint64_t lanes[32][32];
template <typename T>
T exchange(T value, unsigned from) {
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  lanes[warp][lane] = 0;
  std::memcpy(&lanes[warp][lane], &value, sizeof value);
  warps[warp]->arrive_and_wait();
  T out;
  std::memcpy(&out, &lanes[warp][from], sizeof out);
  warps[warp]->arrive_and_wait();
  return out;
}
template <typename Kernel, typename Arguments>
void run(Kernel kernel, Three grid, unsigned threads, const Arguments& arguments) {
  gridDim = grid, blockDim = {threads, 1, 1};
  for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
      for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
        all = std::make_unique<std::barrier<>>(threads);
        warps.clear();
        for (unsigned w = 0; w < threads / 32; w++) warps.push_back(std::make_unique<std::barrier<>>(32));
        std::vector<std::thread> team;
        for (unsigned t = 0; t < threads; t++)
          team.emplace_back([&, t] {
            threadIdx = {t, 0, 0};
            kernel(arguments);
            all->arrive_and_drop();
          });
        for (auto& thread : team) thread.join();
      }
}
}  // namespace host

inline void __syncthreads() { host::all->arrive_and_wait(); }
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
template <typename T> T __shfl_xor_sync(unsigned, T value, int by) { return host::exchange(value, threadIdx.x % 32 ^ by); }
template <typename T> T __shfl_up_sync(unsigned, T value, unsigned by) {
  const unsigned lane = threadIdx.x % 32;
  return host::exchange(value, lane >= by ? lane - by : lane);
}
template <typename T> T __shfl_sync(unsigned, T value, int from) { return host::exchange(value, static_cast<unsigned>(from)); }
template <typename F> unsigned over_lanes(unsigned value, F&& join) {
  for (int by = 16; by; by /= 2) value = join(value, __shfl_xor_sync(0, value, by));
  return value;
}
inline unsigned __reduce_max_sync(unsigned, unsigned value) { return over_lanes(value, [](unsigned a, unsigned b) { return max(a, b); }); }
inline unsigned __reduce_min_sync(unsigned, unsigned value) { return over_lanes(value, [](unsigned a, unsigned b) { return min(a, b); }); }
inline unsigned __ballot_sync(unsigned, bool is) { return over_lanes(is ? 1u << threadIdx.x % 32 : 0, [](unsigned a, unsigned b) { return a | b; }); }
inline void __syncwarp() { host::warps[threadIdx.x / 32]->arrive_and_wait(); }
inline int __ffs(unsigned x) { return __builtin_ffs(static_cast<int>(x)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned __byte_perm(unsigned, unsigned, unsigned) { std::abort(); }  // compiled, not run
inline unsigned __funnelshift_l(unsigned low, unsigned high, int by) { return static_cast<unsigned>((static_cast<std::uint64_t>(high) << 32 | low) << by >> 32); }
template <typename T> T atomicAdd(T* at, T by) { return std::atomic_ref<T>(*at).fetch_add(by); }
inline unsigned atomicAdd(unsigned* at, int by) { return std::atomic_ref<unsigned>(*at).fetch_add(by); }
inline unsigned atomicOr(unsigned* at, unsigned bits) { return std::atomic_ref<unsigned>(*at).fetch_or(bits); }
inline int atomicMax(int* at, int value) {
  std::atomic_ref<int> there(*at);
  int now = there.load();
  while (now < value && !there.compare_exchange_weak(now, value)) {}
  return now;
}
// cvt.rn.bf16x2.f32: to the nearest, ties to even.
inline unsigned bf16x2(float upper, float lower) {
  const auto half = [](float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    return x != x ? 0x7fffu : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  };
  return half(upper) << 16 | half(lower);
}
inline unsigned __float_as_uint(float x) { unsigned r; std::memcpy(&r, &x, 4); return r; }
inline float __uint_as_float(unsigned x) { float r; std::memcpy(&r, &x, 4); return r; }
inline int __float_as_int(float x) { return static_cast<int>(__float_as_uint(x)); }
inline float __int_as_float(unsigned x) { return __uint_as_float(x); }
inline std::uintptr_t __cvta_generic_to_shared(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }
