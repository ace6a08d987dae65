// Where threads are best kept: each on a core of its own, so that none has to move and no two share one.
#pragma once
#include <pthread.h>

#include <vector>

namespace ossia {

using Cpus = std::vector<int>;

constexpr const char* kSystemCpus = "/sys/devices/system/cpu";

// Those that this thread may run on, in rising order; none where the system does not say.
Cpus allowed_cpus();

// CPUs for each of so many threads, by what lies under `sysfs`. Each thread has an equal share of the cores,
// so that processes with few threads do not crowd on the first ones; of cores of several kinds no more kinds
// are shared out than are needed, the fastest first. With more threads than cores each has one CPU, and a
// core's second one comes last. Empty if there are fewer CPUs than threads.
std::vector<Cpus> places_of(const char* sysfs, const Cpus& allowed, int threads);

void keep_to(pthread_t thread, const Cpus& cpus);

}  // namespace ossia
