#include "isa.h"

#include <atomic>
#include <cstring>

#include "ossia_cpu.h"

namespace ossia {
namespace {

#if defined(OSSIA_HAS_AMX)  // the compiler knows the instructions

Isa with_tiles(Isa isa) {
  isa.name = "amx", isa.obstacle = amx_obstacle;
  isa.mxfp4_bf16 = avx512_vnni.mxfp4_bf16;  // see drawback_of
  isa.many_bf16 = amx_bf16, isa.many_int8 = amx_int8;
  return isa;
}

const Isa amx = with_tiles(avx512_bf16);

#endif

const Isa* const kAll[] = {
    &portable,
#if defined(__x86_64__)
    &avx2, &avx512_vnni, &avx512_bf16,
#if defined(OSSIA_HAS_AMX)
    &amx,
#endif
#elif defined(__aarch64__)
    &neon_dotprod,
#endif
};
constexpr int kCount = sizeof(kAll) / sizeof(kAll[0]);

// Intel's processors are slow with vdpbf16ps: on a Xeon with AMX gpt-oss-20b's experts take 1.7 to 2.4 times
// as long by it as by avx512_vnni. AMD's are not: on Zen 4 64 tokens take 67 ms by it on one thread, 77 ms by
// avx512_vnni.
const char* drawback_of([[maybe_unused]] const Isa* isa) {
#if defined(__x86_64__)
  if (isa == &avx512_bf16 && __builtin_cpu_is("intel"))
    return "Intel's processors are slower with products of bfloat16 pairs in vectors";
#endif
  return nullptr;
}

const Isa* best() {
  const Isa* found = &portable;
  for (const Isa* isa : kAll)
    if (isa->obstacle() == nullptr && drawback_of(isa) == nullptr) found = isa;
  return found;
}

std::atomic<const Isa*>& used() {
  static std::atomic<const Isa*> isa{best()};
  return isa;
}

}  // namespace

const Isa& used_isa() { return *used().load(std::memory_order_acquire); }

}  // namespace ossia

using namespace ossia;

int ossia_isa_count() { return kCount; }
const char* ossia_isa_name(int idx) { return kAll[idx]->name; }
const char* ossia_isa_obstacle(int idx) { return kAll[idx]->obstacle(); }
const char* ossia_isa_drawback(int idx) { return drawback_of(kAll[idx]); }
const char* ossia_isa_used() { return used_isa().name; }

int ossia_use(const char* name) {
  for (const Isa* isa : kAll) {
    if (std::strcmp(isa->name, name) == 0 && isa->obstacle() == nullptr) {
      used().store(isa, std::memory_order_release);
      return OSSIA_OK;
    }
  }
  return OSSIA_BAD_ISA;
}
