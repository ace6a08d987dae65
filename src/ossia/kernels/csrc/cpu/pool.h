// Threads that share tasks out among themselves.
#pragma once
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

}  // namespace ossia
