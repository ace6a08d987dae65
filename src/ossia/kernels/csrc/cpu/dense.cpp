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

// Rows of operands for int8 weights: for each token one, or two whose sum is closer to x.
class Int8Operands {
 public:
  Int8Operands(const ossia_linear& call, const Isa& isa)
      : planes_(call.activations == OSSIA_INT8 ? 1 : 2),
        row_bytes_(call.columns / kGroup * isa.int8.group_bytes),
        rows_(allocate(call.tokens * planes_ * row_bytes_)) {
    const int64_t groups = call.columns / kGroup;
    const int threads = call.tokens < kMaxTokens ? 1 : call.threads;
    for_each_task(threads, call.tokens, [&](int64_t token, int) {
      const auto* x = static_cast<const uint16_t*>(call.x) + token * call.columns;
      for (int64_t group = 0; group < groups; ++group) {
        float values[kGroup];
        isa.widen(x + group * kGroup, values, kGroup);
        isa.int8.put_group(values, row(token * planes_), groups, group);
        if (planes_ == 2) put_rest(values, token, groups, group, isa);
      }
    });
  }

  int planes() const { return planes_; }
  uint8_t* row(int64_t number) const { return rows_.get() + number * row_bytes_; }

 private:
  void put_rest(float* values, int64_t token, int64_t groups, int64_t group, const Isa& isa) const {
    const uint8_t* first = row(token * planes_);
    float scale;
    std::memcpy(&scale, first + groups * kGroup + group * 4, 4);
    for (int i = 0; i < kGroup; ++i)
      values[i] -= scale * static_cast<float>(reinterpret_cast<const int8_t*>(first)[group * kGroup + i]);
    isa.int8.put_group(values, row(token * planes_ + 1), groups, group);
  }

  const int planes_;
  const int64_t row_bytes_;
  const Bytes rows_;
};

constexpr int64_t kTaskTiles = 2;  // of int8: about as many bytes as a task of bfloat16

void run_int8(const ossia_linear& call) {
  const Isa& isa = used_isa();
  const Int8Operands operands(call, isa);
  const int64_t groups = call.columns / kGroup, tiles = call.rows / kTileRows;
  const auto* codes = static_cast<const uint8_t*>(call.weight);
  const auto* scales = static_cast<const uint8_t*>(call.scales);
  const auto* bias = static_cast<const uint16_t*>(call.bias);
  auto* out = static_cast<uint16_t*>(call.out);
  const int64_t at_once = kMaxTokens / operands.planes();
  for_each_task(call.threads, (tiles + kTaskTiles - 1) / kTaskTiles, [&](int64_t task, int) {
    const int64_t end = (task + 1) * kTaskTiles < tiles ? (task + 1) * kTaskTiles : tiles;
    for (int64_t tile = task * kTaskTiles; tile < end; ++tile) {
      const uint8_t* tile_codes = codes + tile * groups * kByteCodeBytes;
      const uint8_t* tile_scales = scales + tile * groups * kByteScaleBytes;
      float shift[kTileRows] = {}, sums[kMaxTokens * kTileRows];
      if (bias != nullptr) isa.widen(bias + tile * kTileRows, shift, kTileRows);
      for (int64_t first = 0; first < call.tokens; first += at_once) {
        const int64_t tokens = call.tokens - first < at_once ? call.tokens - first : at_once;
        const int rows = static_cast<int>(tokens) * operands.planes();
        const uint8_t* x[kMaxTokens];
        for (int i = 0; i < rows; ++i) x[i] = operands.row(first * operands.planes() + i);
        isa.int8.tile(tile_codes, tile_scales, groups, x, rows, sums, kTileRows);
        for (int64_t t = 0; t < tokens; ++t) {
          float* values = sums + t * operands.planes() * kTileRows;
          for (int r = 0; r < kTileRows; ++r) {
            if (operands.planes() == 2) values[r] += values[kTileRows + r];
            values[r] += shift[r];
          }
          isa.narrow(values, out + (first + t) * call.rows + tile * kTileRows, kTileRows);
        }
      }
    }
  });
}

void run_bf16(const ossia_linear& call) {
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
    if (call->scales != nullptr) run_int8(*call);
    else run_bf16(*call);
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
  return OSSIA_OK;
}
