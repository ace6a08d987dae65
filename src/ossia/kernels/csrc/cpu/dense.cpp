// Dense matrices in bfloat16, in the order of a torch.nn.Linear.
#include <new>

#include "isa.h"
#include "memory.h"
#include "ossia_cpu.h"
#include "pool.h"

namespace {

using namespace ossia;

constexpr int64_t kTaskBytes = 1 << 17;  // of weights: worth a task, and small enough to share out
constexpr int64_t kTaskRows = 256;       // at most: their results lie on the stack

int64_t rows_of_a_task(const ossia_linear& call) {
  const int64_t rows = kTaskBytes / (2 * call.columns + 1) / 4 * 4;
  return rows < 4 ? 4 : rows > kTaskRows ? kTaskRows : rows;
}

void run(const ossia_linear& call) {
  const Isa& isa = used_isa();
  const auto* weight = static_cast<const uint16_t*>(call.weight);
  const auto* bias = static_cast<const uint16_t*>(call.bias);
  const auto* x = static_cast<const uint16_t*>(call.x);
  auto* out = static_cast<uint16_t*>(call.out);
  Bytes widened;
  if (!isa.dense_takes_bf16) {
    widened = allocate(call.tokens * call.columns * 4);
    isa.widen(x, reinterpret_cast<float*>(widened.get()), call.tokens * call.columns);
  }
  const int64_t step = rows_of_a_task(call);
  for_each_task(call.threads, (call.rows + step - 1) / step, [&](int64_t task, int) {
    const int64_t row = task * step, rows = call.rows - row < step ? call.rows - row : step;
    float shift[kTaskRows] = {}, sums[kMaxTokens * kTaskRows];
    if (bias != nullptr) isa.widen(bias + row, shift, rows);
    for (int64_t first = 0; first < call.tokens; first += kMaxTokens) {
      const int64_t left = call.tokens - first;
      const int tokens = static_cast<int>(left < kMaxTokens ? left : kMaxTokens);
      const void* operands[kMaxTokens];
      for (int t = 0; t < tokens; ++t) {
        const int64_t at = (first + t) * call.columns;
        operands[t] = widened ? static_cast<const void*>(widened.get() + at * 4) : x + at;
      }
      isa.dense(weight + row * call.columns, call.columns, rows, operands, tokens, sums);
      for (int t = 0; t < tokens; ++t) {
        float* values = sums + t * rows;
        for (int64_t r = 0; r < rows; ++r) values[r] += shift[r];
        isa.narrow(values, out + (first + t) * call.rows + row, rows);
      }
    }
  });
}

}  // namespace

int ossia_run_linear(const ossia_linear* call) {
  try {
    run(*call);
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
  return OSSIA_OK;
}
