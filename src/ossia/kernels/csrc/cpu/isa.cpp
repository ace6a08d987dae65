#include "isa.h"

#include <atomic>
#include <cstring>

#include "ossia_cpu.h"

namespace ossia {
namespace {

#if defined(OSSIA_HAS_AMX)  // the compiler knows the instructions

Isa with_products(Isa isa, const Products& products) {
  isa.name = "amx", isa.obstacle = amx_obstacle;
  isa.mxfp4_bf16.max_tokens = kMaxTokens, isa.mxfp4_bf16.tile = products.mxfp4_bf16;
  isa.mxfp4_bf16.put_group = products.put_bf16;
  isa.mxfp4_int8.max_tokens = kMaxTokens, isa.mxfp4_int8.tile = products.mxfp4_int8;
  isa.int8.max_tokens = kMaxTokens, isa.int8.tile = products.int8;
  isa.int8_planes.max_tokens = kMaxTokens / 2, isa.int8_planes.tile = products.int8_planes;
  return isa;
}

const Isa amx = with_products(avx512_bf16, amx_products);

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

// Tiles have been tried under emulation only, so they run where they are asked for.
const Isa* best() {
  const Isa* found = &portable;
  for (const Isa* isa : kAll)
    if (std::strcmp(isa->name, "amx") != 0 && isa->obstacle() == nullptr) found = isa;
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
