// RMSNorm, and rope with the write to the KV cache.
#include <cstring>

#include "isa.h"
#include "ossia_cpu.h"
#include "pool.h"

namespace {

using namespace ossia;

const LayerOps& ops_of(int type) {
  return type == OSSIA_BF16 ? used_isa().layer_bf16 : used_isa().layer_f32;
}

int64_t size_of(int type) { return type == OSSIA_BF16 ? 2 : 4; }

// Where element `i` of an array of floats of a type lies.
const char* at(const void* floats, int64_t i, int type) {
  return static_cast<const char*>(floats) + i * size_of(type);
}
char* at(void* floats, int64_t i, int type) { return static_cast<char*>(floats) + i * size_of(type); }

constexpr int64_t kFewElements = 1 << 15;  // below this, waking others takes longer than the work

int threads_for(int threads, int64_t elements) { return elements < kFewElements ? 1 : threads; }

}  // namespace

int ossia_rms_norm(
    const void* x, const void* weight, float eps, void* out, int64_t rows, int64_t columns, int type,
    int threads) {
  const LayerOps& ops = ops_of(type);
  for_each_task(threads_for(threads, rows * columns), rows, [&](int64_t row, int) {
    ops.norm_row(at(x, row * columns, type), weight, eps, at(out, row * columns, type), columns);
  });
  return OSSIA_OK;
}

int ossia_rotate_and_write(const ossia_rope* call) {
  const ossia_rope& c = *call;
  const LayerOps& ops = ops_of(c.type);
  const int64_t half = c.head_dim / 2, kv_elements = c.kv_heads * c.head_dim;
  const int64_t row_bytes = int8_row_bytes(c.head_dim);
  for_each_task(threads_for(c.threads, c.tokens * (c.heads + 2 * c.kv_heads) * c.head_dim), c.tokens,
                [&](int64_t token, int) {
    const float *cos = c.cos + token * half, *sin = c.sin + token * half;
    for (int64_t head = 0; head < c.heads; ++head) {
      void* q = at(c.q, token * c.q_stride + head * c.head_dim, c.type);
      ops.rotate_head(q, cos, sin, q, half);
    }
    if (c.int8_pages) {
      auto *k_row = static_cast<uint8_t*>(c.k_pages) + c.slots[token] * c.kv_heads * row_bytes;
      auto *v_row = static_cast<uint8_t*>(c.v_pages) + c.slots[token] * c.kv_heads * row_bytes;
      for (int64_t head = 0; head < c.kv_heads; ++head) {
        void* k = at(c.k, token * c.k_stride + head * c.head_dim, c.type);
        ops.rotate_head(k, cos, sin, k, half);
        ops.put_int8_row(k, c.head_dim, k_row + head * row_bytes);
        ops.put_int8_row(
            at(c.v, token * c.v_stride + head * c.head_dim, c.type), c.head_dim, v_row + head * row_bytes);
      }
      return;
    }
    for (int64_t head = 0; head < c.kv_heads; ++head)
      ops.rotate_head(
          at(c.k, token * c.k_stride + head * c.head_dim, c.type), cos, sin,
          at(c.k_pages, c.slots[token] * kv_elements + head * c.head_dim, c.type), half);
    std::memcpy(
        at(c.v_pages, c.slots[token] * kv_elements, c.type), at(c.v, token * c.v_stride, c.type),
        static_cast<size_t>(kv_elements * size_of(c.type)));
  });
  return OSSIA_OK;
}
