// RMSNorm, rope with the write to the KV cache, and attention over pages.
#include <cstring>
#include <new>

#include "isa.h"
#include "memory.h"
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

void attend(const ossia_attention& c) {
  const LayerOps& ops = ops_of(c.type);
  const int64_t group = c.heads / c.kv_heads, floats = attend_scratch(group, c.head_dim);
  const Bytes scratch = allocate(c.threads * floats * 4);
  for_each_task(c.threads, c.tokens * c.kv_heads, [&](int64_t number, int thread) {
    const int64_t token = number / c.kv_heads, kv_head = number % c.kv_heads;
    const int64_t end = c.positions[token] + 1;
    const int64_t first_head = token * c.heads + kv_head * group;
    AttendTask task;
    task.q = at(c.q, first_head * c.head_dim, c.type);
    task.k_pages = at(c.k_pages, kv_head * c.head_dim, c.type);
    task.v_pages = at(c.v_pages, kv_head * c.head_dim, c.type);
    task.pages = c.page_table + c.seqs[token] * c.max_pages;
    task.sinks = at(c.sinks, kv_head * group, c.type);
    task.out = at(c.out, first_head * c.head_dim, c.type);
    task.first_key = c.window > 0 && end > c.window ? end - c.window : 0;
    task.end_key = end;
    task.group = group, task.head_dim = c.head_dim, task.page_size = c.page_size;
    task.row_elements = c.kv_heads * c.head_dim;
    ops.attend(task, reinterpret_cast<float*>(scratch.get()) + thread * floats);
  });
}

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
  for_each_task(threads_for(c.threads, c.tokens * (c.heads + 2 * c.kv_heads) * c.head_dim), c.tokens,
                [&](int64_t token, int) {
    const float *cos = c.cos + token * half, *sin = c.sin + token * half;
    for (int64_t head = 0; head < c.heads; ++head) {
      void* q = at(c.q, token * c.q_stride + head * c.head_dim, c.type);
      ops.rotate_head(q, cos, sin, q, half);
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

int ossia_attend(const ossia_attention* call) {
  try {
    attend(*call);
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
  return OSSIA_OK;
}
