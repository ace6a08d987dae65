// Dense matrices: in bfloat16, in the order of a torch.nn.Linear, and in int8 tiles.
#include <cstring>
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

// x as panels of operands for int8 weights: of each token one row, or two whose sum is closer to it.
class Int8Operands {
 public:
  Int8Operands(const ossia_linear& call, const Isa& isa)
      : planes_(call.activations == OSSIA_INT8 ? 1 : 2), tokens_(call.tokens),
        panel_tokens_(kMaxTokens / planes_), groups_(call.columns / kGroup), product_(isa.int8),
        rows_(scratch_.take(call.tokens * planes_ * groups_ * product_.group_bytes)) {
    for_each_task(call.tokens < kMaxTokens ? 1 : call.threads, call.tokens, [&](int64_t token, int) {
      const auto* x = static_cast<const uint16_t*>(call.x) + token * call.columns;
      for (int64_t group = 0; group < groups_; ++group) {
        float values[kGroup];
        isa.widen(x + group * kGroup, values, kGroup);
        put(values, token, group);
      }
    });
  }

  int planes() const { return planes_; }
  int64_t panels() const { return (tokens_ + panel_tokens_ - 1) / panel_tokens_; }
  int64_t first_token(int64_t panel) const { return panel * panel_tokens_; }
  int tokens(int64_t panel) const {
    const int64_t left = tokens_ - first_token(panel);
    return static_cast<int>(left < panel_tokens_ ? left : panel_tokens_);
  }
  uint8_t* panel(int64_t number) const {
    return rows_ + first_token(number) * planes_ * groups_ * product_.group_bytes;
  }

 private:
  void put(float* values, int64_t token, int64_t group) const {
    const int64_t number = token / panel_tokens_;
    const int rows = tokens(number) * planes_, row = static_cast<int>(token % panel_tokens_) * planes_;
    uint8_t* first = panel(number) + place_of(product_, group, rows, row);
    product_.put_group(values, first);
    if (planes_ == 1) return;
    int8_t whole[kGroup];
    float scale;
    std::memcpy(whole, first, kGroup);
    std::memcpy(&scale, first + kGroup, sizeof(scale));
    for (int i = 0; i < kGroup; ++i) values[i] -= scale * static_cast<float>(whole[i]);
    product_.put_group(values, panel(number) + place_of(product_, group, rows, row + 1));
  }

  const int planes_;
  const int64_t tokens_, panel_tokens_, groups_;
  const Product& product_;
  Scratch scratch_;
  uint8_t* const rows_;
};

constexpr int64_t kTaskTiles = 2;    // of int8: about as many bytes as a task of bfloat16
constexpr int64_t kTaskPanels = 16;  // that fit the second-level cache

void run_int8(const ossia_linear& call) {
  const Isa& isa = used_isa();
  const Int8Operands operands(call, isa);
  const int64_t groups = call.columns / kGroup, tiles = call.rows / kTileRows;
  const auto* codes = static_cast<const uint8_t*>(call.weight);
  const auto* scales = static_cast<const uint8_t*>(call.scales);
  const auto* bias = static_cast<const uint16_t*>(call.bias);
  const int64_t strips = (tiles + kTaskTiles - 1) / kTaskTiles;
  const int64_t batches = (operands.panels() + kTaskPanels - 1) / kTaskPanels;
  const auto run_strip = [&](int64_t tile, int64_t number) {
    const int planes = operands.planes(), tokens = operands.tokens(number);
    const int64_t rows = (tile + 1 < tiles ? kTaskTiles : 1) * kTileRows;
    float shift[kTaskTiles * kTileRows] = {}, sums[kMaxTokens * kTaskTiles * kTileRows];
    if (bias != nullptr) isa.widen(bias + tile * kTileRows, shift, rows);
    if (rows > kTileRows)
      multiply_two(
          isa.int8, codes, scales, tile, groups, operands.panel(number), tokens * planes, sums, rows, kTileRows);
    else
      isa.int8.tile(
          codes + tile * groups * kByteCodeBytes, scales + tile * groups * kByteScaleBytes, groups,
          operands.panel(number), tokens * planes, sums, rows);
    for (int t = 0; t < tokens; ++t) {
      float* values = sums + t * planes * rows;
      for (int64_t r = 0; r < rows; ++r) {
        if (planes == 2) values[r] += values[rows + r];
        values[r] += shift[r];
      }
      const int64_t to = (operands.first_token(number) + t) * call.rows + tile * kTileRows;
      isa.narrow(values, static_cast<uint16_t*>(call.out) + to, rows);
    }
  };
  for_each_task(call.threads, batches * strips, [&](int64_t task, int) {
    const int64_t first = task / strips * kTaskPanels;
    for (int64_t panel = first; panel < first + kTaskPanels && panel < operands.panels(); ++panel)
      run_strip(task % strips * kTaskTiles, panel);
  });
}

void run_bf16(const ossia_linear& call) {
  const Isa& isa = used_isa();
  const auto* weight = static_cast<const uint16_t*>(call.weight);
  const auto* bias = static_cast<const uint16_t*>(call.bias);
  const auto* x = static_cast<const uint16_t*>(call.x);
  auto* out = static_cast<uint16_t*>(call.out);
  Scratch scratch;
  float* widened = nullptr;
  if (!isa.dense_takes_bf16) {
    widened = scratch.take_array<float>(call.tokens * call.columns);
    isa.widen(x, widened, call.tokens * call.columns);
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
        operands[t] = widened != nullptr ? static_cast<const void*>(widened + at) : x + at;
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
    if (call->scales != nullptr) run_int8(*call);
    else run_bf16(*call);
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
  return OSSIA_OK;
}
