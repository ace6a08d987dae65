// Memory for what kernels keep between their stages.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ossia {

struct FreeAligned {
  void operator()(uint8_t* bytes) const { std::free(bytes); }
};
using Bytes = std::unique_ptr<uint8_t, FreeAligned>;

constexpr size_t kLine = 64;
constexpr size_t kLargePage = 2 << 20;

// The whole pages of a size in a stretch of memory.
struct Pages {
  uint8_t* first;
  size_t bytes;

  Pages(const void* memory, int64_t count, size_t size) {
    const uintptr_t at = reinterpret_cast<uintptr_t>(memory);
    const uintptr_t begin = (at + size - 1) / size * size;
    const uintptr_t end = (at + static_cast<uintptr_t>(count)) / size * size;
    first = reinterpret_cast<uint8_t*>(begin), bytes = begin < end ? end - begin : 0;
  }
};

// Large pages for memory that is used over and over, where the system gives some on request: before it is
// first written.
inline void ask_for_large_pages([[maybe_unused]] void* memory, [[maybe_unused]] int64_t count) {
#if defined(__linux__)
  const Pages pages(memory, count, kLargePage);
  if (pages.bytes > 0) madvise(pages.first, pages.bytes, MADV_HUGEPAGE);
#endif
}

// Has the system make large pages of what it could only give small ones for, which takes it some copying.
inline void gather_in_large_pages([[maybe_unused]] void* memory, [[maybe_unused]] int64_t count) {
#if defined(__linux__)
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, from Linux 6.1 on; older ones say no
  const Pages pages(memory, count, kLargePage);
  for (size_t at = 0; at < pages.bytes; at += kLargePage) madvise(pages.first + at, kLargePage, kCollapse);
#endif
}

// Lets the system take a file's pages back. What was written stays.
inline void page_out([[maybe_unused]] const void* memory, [[maybe_unused]] int64_t count) {
#if defined(__linux__)
  constexpr int kPageOut = 21;  // MADV_PAGEOUT, from Linux 5.4 on
  const Pages pages(memory, count, 4096);
  if (pages.bytes > 0) madvise(pages.first, pages.bytes, kPageOut);
#endif
}

// Has the system read a file's pages before they are looked at; returns when all are asked for.
inline void read_ahead([[maybe_unused]] const void* memory, [[maybe_unused]] int64_t count) {
#if defined(__linux__)
  constexpr size_t kPiece = 128 << 10;  // of one request the system may leave out what goes beyond
  const Pages pages(memory, count, 4096);
  for (size_t at = 0; at < pages.bytes; at += kPiece)
    madvise(pages.first + at, pages.bytes - at < kPiece ? pages.bytes - at : kPiece, MADV_WILLNEED);
#endif
}

// At the start of a cache line; throws std::bad_alloc.
inline Bytes allocate(int64_t bytes) {
  const size_t align = static_cast<size_t>(bytes) < kLargePage ? kLine : kLargePage;
  const size_t rounded = (static_cast<size_t>(bytes) / align + 1) * align;
  void* memory = std::aligned_alloc(align, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  ask_for_large_pages(static_cast<uint8_t*>(memory), static_cast<int64_t>(rounded));
  return Bytes(static_cast<uint8_t*>(memory));
}

// Memory of one call, taken piece by piece and given back all at once, which the calling thread keeps for
// its next call: pages that are new each time would cost a fifth of a prompt's time. Scopes may nest.
class Scratch {
 public:
  Scratch() : block_(arena().current), used_(arena().used) {}
  Scratch(const Scratch&) = delete;
  ~Scratch() {
    Arena& all = arena();
    all.current = block_, all.used = used_;
    if (block_ == 0 && used_ == 0 && all.blocks.size() > 1) all.join();
  }

  // At the start of a cache line; throws std::bad_alloc.
  uint8_t* take(int64_t bytes) {
    Arena& all = arena();
    const size_t wanted = (static_cast<size_t>(bytes) / kLine + 1) * kLine;
    while (all.current < all.blocks.size() && all.used + wanted > all.blocks[all.current].size)
      ++all.current, all.used = 0;
    if (all.current == all.blocks.size()) all.add(wanted);
    uint8_t* found = all.blocks[all.current].memory.get() + all.used;
    all.used += wanted;
    return found;
  }

  template <typename T>
  T* take_array(int64_t count) {
    return reinterpret_cast<T*>(take(count * static_cast<int64_t>(sizeof(T))));
  }

 private:
  struct Block {
    size_t size;
    Bytes memory;
  };
  struct Arena {
    std::vector<Block> blocks;
    size_t current = 0, used = 0;

    void add(size_t bytes) { blocks.push_back({bytes, allocate(static_cast<int64_t>(bytes))}); }

    // One block of what all had together.
    void join() noexcept {
      size_t total = 0;
      for (const Block& block : blocks) total += block.size;
      blocks.clear();
      try {
        add(total);
      } catch (const std::bad_alloc&) {  // then the next call begins with nothing
      }
    }
  };

  static Arena& arena() {
    thread_local Arena all;
    return all;
  }

  const size_t block_, used_;
};

}  // namespace ossia
