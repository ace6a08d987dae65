#include "isa.h"

#include <atomic>
#include <cstring>

#include "ossia_cpu.h"

namespace ossia {
namespace {

const Isa* const kAll[] = {
    &portable,
#if defined(__x86_64__)
    &avx2, &avx512_vnni, &avx512_bf16,
#elif defined(__aarch64__)
    &neon_dotprod,
#endif
};
constexpr int kCount = sizeof(kAll) / sizeof(kAll[0]);

const Isa* best() {
  const Isa* found = &portable;
  for (const Isa* isa : kAll)
    if (isa->runs()) found = isa;
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
int ossia_isa_runs(int idx) { return kAll[idx]->runs(); }
const char* ossia_isa_used() { return used_isa().name; }

int ossia_use(const char* name) {
  for (const Isa* isa : kAll) {
    if (std::strcmp(isa->name, name) == 0 && isa->runs()) {
      used().store(isa, std::memory_order_release);
      return OSSIA_OK;
    }
  }
  return OSSIA_BAD_ISA;
}
