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

// A share of items, which its owner takes from the front and others from the back.
class alignas(64) Share {
 public:
  void set(int64_t first, int64_t end) { both_.store(joined(first, end), std::memory_order_relaxed); }

  // The next of them; false if none is left.
  bool take(int64_t& item) {
    uint64_t seen = both_.load(std::memory_order_relaxed);
    for (;;) {
      item = first_of(seen);
      if (item == end_of(seen)) return false;
      if (both_.compare_exchange_weak(seen, joined(item + 1, end_of(seen)), std::memory_order_relaxed)) return true;
    }
  }

  // The later half, unless there is but one.
  bool give(int64_t& first, int64_t& end) {
    uint64_t seen = both_.load(std::memory_order_relaxed);
    for (;;) {
      end = end_of(seen);
      first = end - (end - first_of(seen)) / 2;
      if (first == end) return false;
      if (both_.compare_exchange_weak(seen, joined(first_of(seen), first), std::memory_order_relaxed)) return true;
    }
  }

 private:
  static uint64_t joined(int64_t first, int64_t end) { return uint64_t(first) << 32 | uint64_t(end); }
  static int64_t first_of(uint64_t both) { return static_cast<int64_t>(both >> 32); }
  static int64_t end_of(uint64_t both) { return static_cast<int64_t>(both & 0xffffffffu); }

  std::atomic<uint64_t> both_{0};
};

constexpr int kMaxThreads = 256;

// Runs body(item, thread) for each of fewer than 2**32 items. Each thread goes through a share of its own, since
// memory is read fastest in long runs, and who is done with it takes half of what another has left.
template <typename F>
void for_each_in_runs(int threads, int64_t items, F&& body) {
  if (threads > items) threads = static_cast<int>(items);
  if (threads > kMaxThreads) threads = kMaxThreads;
  Share shares[kMaxThreads];
  for (int i = 0; i < threads; ++i) shares[i].set(items * i / threads, items * (i + 1) / threads);
  for_each_task(threads, threads, [&](int64_t own, int thread) {
    for (;;) {
      int64_t item, first, end, from = 1;
      while (shares[own].take(item)) body(item, thread);
      while (from < threads && !shares[(own + from) % threads].give(first, end)) ++from;
      if (from >= threads) return;
      shares[own].set(first, end);
    }
  });
}

}  // namespace ossia
