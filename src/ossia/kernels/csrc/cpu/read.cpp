// The memory's own speed, measured with the kernels' threads.
#include <atomic>
#include <cstring>

#include "ossia_cpu.h"
#include "pool.h"

uint64_t ossia_read(const uint8_t* bytes, int64_t count, int threads) {
  constexpr int64_t kPiece = 1 << 19, kWords = 32;
  std::atomic<uint64_t> all{0};
  ossia::for_each_task(threads, count / kPiece, [&](int64_t piece, int) {
    uint64_t sums[kWords] = {};
    for (int64_t at = 0; at < kPiece; at += 8 * kWords) {
      uint64_t words[kWords];
      std::memcpy(words, bytes + piece * kPiece + at, sizeof(words));
      for (int64_t i = 0; i < kWords; ++i) sums[i] ^= words[i];
    }
    uint64_t sum = 0;
    for (uint64_t word : sums) sum ^= word;
    all.fetch_xor(sum, std::memory_order_relaxed);
  });
  uint64_t rest = 0;
  for (int64_t at = count / kPiece * kPiece; at + 8 <= count; at += 8) {
    uint64_t word;
    std::memcpy(&word, bytes + at, 8);
    rest ^= word;
  }
  return all.load() ^ rest;
}
