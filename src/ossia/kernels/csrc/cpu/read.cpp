// The memory's own speed, measured with the kernels' threads.
#include <atomic>
#include <cstring>

#include "isa.h"
#include "ossia_cpu.h"
#include "pool.h"

uint64_t ossia_read(const uint8_t* bytes, int64_t count, int64_t ahead, int threads) {
  constexpr int64_t kPiece = 1 << 19;
  static_assert(kPiece % ossia::kReadBytes == 0);
  const ossia::Isa& isa = ossia::used_isa();
  std::atomic<uint64_t> all{0};
  ossia::for_each_task(threads, count / kPiece, [&](int64_t piece, int) {
    all.fetch_xor(isa.read(bytes + piece * kPiece, kPiece, ahead), std::memory_order_relaxed);
  });
  uint64_t rest = 0;
  for (int64_t at = count / kPiece * kPiece; at + 8 <= count; at += 8) {
    uint64_t word;
    std::memcpy(&word, bytes + at, 8);
    rest ^= word;
  }
  return all.load() ^ rest;
}
