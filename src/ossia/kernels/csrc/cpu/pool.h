// Threads that share tasks out among themselves.
#pragma once
#include <cstdint>
#include <type_traits>

namespace ossia {

using Task = void (*)(void* context, int64_t task, int thread, int64_t next);

// Runs task(context, i, thread, next) for every i below `tasks`, on the caller and at most `threads` - 1
// others; `thread` is below `threads`, and no two tasks run as one thread at once. Tasks are taken one
// by one, so that a core that is slow, or busy with somebody else's work, gets fewer. `next` is the task
// that the thread will run afterwards, or none of them: not below `tasks`. Calls from several
// threads wait for each other. A forked child starts with threads of its own.
void run_tasks(int threads, int64_t tasks, Task task, void* context);

// Where `body` takes three arguments, the third is the next task.
template <typename F>
void for_each_task(int threads, int64_t tasks, F&& body) {
  using Body = std::remove_reference_t<F>;
  run_tasks(
      threads, tasks,
      [](void* context, int64_t task, int thread, int64_t next) {
        if constexpr (std::is_invocable_v<Body&, int64_t, int, int64_t>)
          (*static_cast<Body*>(context))(task, thread, next);
        else (*static_cast<Body*>(context))(task, thread);
      },
      &body);
}

}  // namespace ossia
