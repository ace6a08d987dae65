// Memory at the start of a cache line.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace ossia {

struct FreeAligned {
  void operator()(uint8_t* bytes) const { std::free(bytes); }
};
using Bytes = std::unique_ptr<uint8_t, FreeAligned>;

// Throws std::bad_alloc.
inline Bytes allocate(int64_t bytes) {
  constexpr size_t kLine = 64;
  const size_t lines = (static_cast<size_t>(bytes) + kLine - 1) / kLine + 1;
  void* memory = std::aligned_alloc(kLine, lines * kLine);
  if (memory == nullptr) throw std::bad_alloc();
  return Bytes(static_cast<uint8_t*>(memory));
}

}  // namespace ossia
