// Whether this machine runs AMX; compiled for every processor, as it is asked on every one.
#include <cpuid.h>

#include "isa.h"

#if defined(__linux__)
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace ossia {
namespace {

#if defined(OSSIA_EMULATE_AMX)

const char* tiles_obstacle() { return nullptr; }

#else

// Linux gives tiles to a process that asks for them, once and for all of its threads, if none of these has a
// stack for signals on which tiles do not fit.
const char* permission_obstacle() {
#if defined(__linux__)
  constexpr int kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  if (syscall(SYS_arch_prctl, kRequest, kTileData) == 0) return nullptr;
  if (errno == ENOSPC) return "Linux refuses tiles: a thread's stack for signals is too small for them";
  if (errno == EPERM) return "Linux refuses tiles: arch_prctl(ARCH_REQ_XCOMP_PERM) is not permitted here";
  return "Linux refuses tiles: arch_prctl(ARCH_REQ_XCOMP_PERM) needs Linux 5.16";
#else
  return nullptr;
#endif
}

uint64_t saved_states() {  // XCR0
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

const char* tiles_obstacle() {
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kAll = kBf16 | kTile;
  constexpr uint64_t kStates = 3ull << 17;  // shapes and data
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kAll) != kAll)
    return "the processor lacks AMX (amx_tile, amx_bf16)";
  if ((saved_states() & kStates) != kStates) return "the system does not keep AMX's tiles (XCR0)";
  return permission_obstacle();
}

#endif

}  // namespace

const char* amx_obstacle() {
  static const char* const found = [] {
    const char* missing = avx512_bf16.obstacle();
    return missing != nullptr ? missing : tiles_obstacle();
  }();
  return found;
}

}  // namespace ossia
