// Dense matrices: in bfloat16, in the order of a torch.nn.Linear, and in int8 tiles.
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

// x as panels of operands for int8 weights.
class Int8Operands {
 public:
  Int8Operands(const ossia_linear& call, const Isa& isa, const Product& product)
      : tokens_(call.tokens), groups_(call.columns / kGroup), product_(product),
        rows_(scratch_.take(call.tokens * groups_ * product.group_bytes)) {
    for_each_task(tokens_ < kFewTokens ? 1 : call.threads, tokens_, [&](int64_t token, int) {
      const auto* x = static_cast<const uint16_t*>(call.x) + token * call.columns;
      const int64_t number = token / product_.max_tokens;
      const int row = static_cast<int>(token % product_.max_tokens);
      for (int64_t group = 0; group < groups_; ++group) {
        float values[kGroup];
        isa.widen(x + group * kGroup, values, kGroup);
        product_.put_group(values, panel(number) + place_of(product_, group, tokens(number), row));
      }
    });
  }

  int64_t panels() const { return (tokens_ + product_.max_tokens - 1) / product_.max_tokens; }
  int64_t first_token(int64_t panel) const { return panel * product_.max_tokens; }
  int tokens(int64_t panel) const {
    const int64_t left = tokens_ - first_token(panel);
    return static_cast<int>(left < product_.max_tokens ? left : product_.max_tokens);
  }
  uint8_t* panel(int64_t number) const { return rows_ + first_token(number) * groups_ * product_.group_bytes; }

 private:
  static constexpr int64_t kFewTokens = 8;  // that one thread is done with before others have woken up

  const int64_t tokens_, groups_;
  const Product& product_;
  Scratch scratch_;
  uint8_t* const rows_;
};

constexpr int64_t kBatchBytes = 8 * 640;  // of a group of operands

void run_int8(const ossia_linear& call) {
  const Isa& isa = used_isa();
  const Product& product = call.activations == OSSIA_INT8 ? isa.int8 : isa.int8_planes;
  const Int8Operands operands(call, isa, product);
  const int64_t groups = call.columns / kGroup, tiles = call.rows / kTileRows;
  const auto* codes = static_cast<const uint8_t*>(call.weight);
  const auto* scales = static_cast<const uint8_t*>(call.scales);
  const auto* bias = static_cast<const uint16_t*>(call.bias);
  const TileAt matrix = {codes, scales};
  const auto run_tile = [&](int64_t tile, int64_t number, int64_t next) {
    const int tokens = operands.tokens(number);
    float shift[kTileRows] = {}, sums[kMaxTokens * kTileRows];
    if (bias != nullptr) isa.widen(bias + tile * kTileRows, shift, kTileRows);
    product.tile(
        tile_at(product, matrix, groups, tile), tile_at(product, matrix, groups, next), groups,
        operands.panel(number), tokens, sums, kTileRows);
    for (int t = 0; t < tokens; ++t) {
      float* values = sums + t * kTileRows;
      for (int r = 0; r < kTileRows; ++r) values[r] += shift[r];
      const int64_t to = (operands.first_token(number) + t) * call.rows + tile * kTileRows;
      isa.narrow(values, static_cast<uint16_t*>(call.out) + to, kTileRows);
    }
  };
  // Panels of a batch fit the second-level cache. One batch, as in decoding, reads the matrix once through.
  const int64_t batch = kBatchBytes / (product.max_tokens * product.group_bytes);
  for (int64_t first = 0; first < operands.panels(); first += batch) {
    const int64_t end_panel = first + batch < operands.panels() ? first + batch : operands.panels();
    for_each_in_runs(call.threads, tiles, [&](int64_t tile, int) {
      for (int64_t panel = first; panel < end_panel; ++panel)
        run_tile(tile, panel, tile + 1 < tiles ? tile + 1 : tile);
    });
  }
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
    float shift[kTaskRows] = {}, sums[kDenseTokens * kTaskRows];
    if (bias != nullptr) isa.widen(bias + row, shift, rows);
    for (int64_t first = 0; first < call.tokens; first += kDenseTokens) {
      const int64_t left = call.tokens - first;
      const int tokens = static_cast<int>(left < kDenseTokens ? left : kDenseTokens);
      const void* operands[kDenseTokens];
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
