#include "pool.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

#include "ossia_cpu.h"
#include "places.h"

namespace ossia {
namespace {

constexpr auto kSpin = std::chrono::microseconds(50);  // longer than the gap between two kernels
constexpr uint32_t kClosed = 1u << 31;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

std::atomic<bool> are_kept{true};  // workers, to places

class Pool {
 public:
  void run(int threads, int64_t tasks, Task task, void* context) {
    std::lock_guard<std::mutex> one_caller(callers_);
    start_workers(threads - 1);
    task_ = task, context_ = context, tasks_ = tasks, threads_ = threads;
    next_.store(0, std::memory_order_relaxed);
    gate_.store(0, std::memory_order_release);  // publishes the job
    epoch_.fetch_add(1);
    if (sleepers_.load() > 0) {
      { std::lock_guard<std::mutex> lock(sleep_); }
      wake_.notify_all();
    }
    work(0);
    // A worker that has not come by now finds the gate closed; nobody waits for it to wake up.
    gate_.fetch_or(kClosed, std::memory_order_acq_rel);
    for (int spins = 0; gate_.load(std::memory_order_acquire) != kClosed; ++spins) {
      if (spins < 10000) relax();
      else sched_yield();
    }
  }

 private:
  void start_workers(int wanted) {
    if (workers_ >= wanted) return;
    try {
      for (; workers_ < wanted; ++workers_) {
        std::thread worker([this, thread = workers_ + 1, seen = epoch_.load()] {
          live(thread, seen);
        });
        handles_[workers_] = worker.native_handle();
        worker.detach();
      }
    } catch (...) {  // no more threads to be had: those there are do the work
    }
    place_workers();
  }

  // Workers to cores of their own, and one core left for the caller. That is not kept there: whatever threads
  // it starts later, torch's or the user's, would inherit the place and crowd on it.
  void place_workers() {
    if (!are_kept.load()) return;
    try {
      const Cpus allowed = allowed_cpus();
      const auto places = places_of(kSystemCpus, allowed, workers_ + 1);
      for (int i = 0; i < workers_; ++i) keep_to(handles_[i], places.empty() ? allowed : places[i + 1]);
    } catch (const std::bad_alloc&) {  // then the system chooses
    }
  }

  void live(int thread, uint32_t seen) {
    for (;;) {
      await_change(seen);
      seen = epoch_.load();
      uint32_t inside = gate_.load(std::memory_order_acquire);
      while (!(inside & kClosed)) {
        if (gate_.compare_exchange_weak(inside, inside + 1, std::memory_order_acq_rel)) {
          if (thread < threads_) work(thread);
          gate_.fetch_sub(1, std::memory_order_acq_rel);
          break;
        }
      }
    }
  }

  void await_change(uint32_t seen) {
    const auto until = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 64; ++i) {
        if (epoch_.load(std::memory_order_acquire) != seen) return;
        relax();
      }
    } while (std::chrono::steady_clock::now() < until);
    std::unique_lock<std::mutex> lock(sleep_);
    sleepers_.fetch_add(1);
    wake_.wait(lock, [&] { return epoch_.load() != seen; });
    sleepers_.fetch_sub(1);
  }

  void work(int thread) {
    for (;;) {
      const int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks_) return;
      task_(context_, task, thread);
    }
  }

  std::mutex callers_;
  int workers_ = 0;
  pthread_t handles_[kMaxThreads];  // of workers

  // The job; written while the gate is closed and nobody is inside.
  Task task_ = nullptr;
  void* context_ = nullptr;
  int64_t tasks_ = 0;
  int threads_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> gate_{kClosed};  // how many workers are inside
  alignas(64) std::atomic<uint32_t> epoch_{0};       // rises with every job
  std::atomic<int> sleepers_{0};
  std::mutex sleep_;
  std::condition_variable wake_;
};

std::atomic<Pool*> current{nullptr};
std::once_flag fork_handler;

// A child has none of its parent's threads, and locks as they happened to be: it starts anew.
void forget_pool() { current.store(nullptr); }

Pool* pool() {
  std::call_once(fork_handler, [] { pthread_atfork(nullptr, nullptr, forget_pool); });
  Pool* found = current.load(std::memory_order_acquire);
  if (found != nullptr) return found;
  Pool* made = new Pool;  // never deleted: its threads may outlive main
  if (current.compare_exchange_strong(found, made)) return made;
  delete made;
  return found;
}

}  // namespace

void run_tasks(int threads, int64_t tasks, Task task, void* context) {
  if (threads > tasks) threads = static_cast<int>(tasks);
  if (threads > kMaxThreads) threads = kMaxThreads;
  if (threads <= 1) {
    for (int64_t i = 0; i < tasks; ++i) task(context, i, 0);
    return;
  }
  pool()->run(threads, tasks, task, context);
}

}  // namespace ossia

void ossia_keep_workers(int kept) { ossia::are_kept.store(kept != 0); }
