// Threads that share tasks out among themselves.
#pragma once
#include <atomic>
#include <cstdint>

namespace ossia {

using Task = void (*)(void* context, int64_t task, int thread);

// Runs task(context, i, thread) for every i below `tasks`, on the caller and at most `threads` - 1
// others; `thread` is below `threads`, and no two tasks run as one thread at once. Tasks are taken one
// by one, so that a core that is slow, or busy with somebody else's work, gets fewer. Calls from several
// threads wait for each other. A forked child starts with threads of its own.
void run_tasks(int threads, int64_t tasks, Task task, void* context);

template <typename F>
void for_each_task(int threads, int64_t tasks, F&& body) {
  run_tasks(
      threads, tasks,
      [](void* context, int64_t task, int thread) { (*static_cast<F*>(context))(task, thread); },
      &body);
}

// Runs body(first, end, thread) over all of `items`, by spans that shrink towards the end, down to `least`:
// memory is read fastest in long runs, and all threads should be done at the same time.
template <typename F>
void for_each_span(int threads, int64_t items, int64_t least, F&& body) {
  std::atomic<int64_t> taken{0};
  for_each_task(threads, threads, [&](int64_t, int thread) {
    for (int64_t first = taken.load(std::memory_order_relaxed); first < items;) {
      const int64_t share = (items - first) / (2 * threads), left = items - first;
      const int64_t count = share > least ? share : least < left ? least : left;
      if (!taken.compare_exchange_weak(first, first + count, std::memory_order_relaxed)) continue;
      body(first, first + count, thread);
      first = taken.load(std::memory_order_relaxed);
    }
  });
}

}  // namespace ossia
