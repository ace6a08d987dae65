#include "places.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>
#include <string>

#include "ossia_cpu.h"

namespace ossia {
namespace {

struct Core {
  Cpus cpus;
  int64_t speed = 0;
};

// A file's first line; empty if there is none.
std::string line_of(const std::string& path) {
  std::string line;
  if (std::FILE* file = std::fopen(path.c_str(), "r")) {
    char bytes[4096];
    if (std::fgets(bytes, sizeof(bytes), file) != nullptr) line = bytes;
    std::fclose(file);
  }
  return line;
}

// Its capacity, which Linux tells of processors with cores of several kinds, or its frequency; 0 if neither
// is known.
int64_t speed_of(const std::string& folder) {
  const std::string capacity = line_of(folder + "/cpu_capacity");
  return std::atoll((capacity.empty() ? line_of(folder + "/cpufreq/cpuinfo_max_freq") : capacity).c_str());
}

std::vector<Core> cores_of(const char* sysfs, const Cpus& allowed) {
  std::map<int, Core> cores;  // by their first CPU, allowed or not
  for (int cpu : allowed) {
    const std::string folder = std::string(sysfs) + "/cpu" + std::to_string(cpu);
    const std::string siblings = line_of(folder + "/topology/thread_siblings_list");
    Core& core = cores[siblings.empty() ? cpu : std::atoi(siblings.c_str())];
    core.cpus.push_back(cpu), core.speed = speed_of(folder);
  }
  std::vector<Core> all;
  for (const auto& [first, core] : cores) all.push_back(core);
  return all;
}

// Cores by their kind, the fastest first. Cores of one kind differ by some percent in what they may reach.
std::vector<std::vector<Core>> kinds_of(std::vector<Core> cores) {
  const auto is_faster = [](const Core& a, const Core& b) { return a.speed > b.speed; };
  std::sort(cores.begin(), cores.end(), is_faster);
  std::vector<std::vector<Core>> kinds;
  for (const Core& core : cores) {
    if (kinds.empty() || core.speed * 10 < kinds.back().front().speed * 9) kinds.emplace_back();
    kinds.back().push_back(core);
  }
  for (auto& kind : kinds)  // neighbours by number share caches
    std::sort(kind.begin(), kind.end(), [](const Core& a, const Core& b) { return a.cpus < b.cpus; });
  return kinds;
}

// Every core's first CPU, then every core's second one, and so on.
std::vector<Cpus> cpu_by_cpu(const std::vector<std::vector<Core>>& kinds, size_t cpus) {
  std::vector<Cpus> places;
  for (size_t sibling = 0; places.size() < cpus; ++sibling)
    for (const auto& kind : kinds)
      for (const Core& core : kind)
        if (sibling < core.cpus.size()) places.push_back({core.cpus[sibling]});
  return places;
}

}  // namespace

Cpus allowed_cpus() {
  Cpus allowed;
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return allowed;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) allowed.push_back(cpu);
#endif
  return allowed;
}

std::vector<Cpus> places_of(const char* sysfs, const Cpus& allowed, int threads) {
  const auto wanted = static_cast<size_t>(threads);
  if (allowed.size() < wanted) return {};
  const std::vector<Core> cores = cores_of(sysfs, allowed);
  const auto kinds = kinds_of(cores);
  if (cores.size() < wanted) {
    std::vector<Cpus> places = cpu_by_cpu(kinds, allowed.size());
    places.resize(wanted);
    return places;
  }
  std::vector<Cpus> places;
  for (const auto& kind : kinds) {
    const size_t some = std::min(kind.size(), wanted - places.size());
    for (size_t i = 0; i < some; ++i) {
      Cpus& place = places.emplace_back();
      for (size_t core = kind.size() * i / some; core < kind.size() * (i + 1) / some; ++core)
        place.insert(place.end(), kind[core].cpus.begin(), kind[core].cpus.end());
    }
  }
  return places;
}

void keep_to([[maybe_unused]] pthread_t thread, [[maybe_unused]] const Cpus& cpus) {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : cpus) CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread, sizeof(set), &set);  // where it is refused, the system goes on choosing
#endif
}

}  // namespace ossia

int ossia_places(const char* sysfs, const int32_t* cpus, int64_t count, int threads, int32_t* thread_of) {
  try {
    const ossia::Cpus allowed(cpus, cpus + count);
    const auto places = ossia::places_of(sysfs, allowed, threads);
    for (int64_t i = 0; i < count; ++i) {
      thread_of[i] = -1;
      for (size_t thread = 0; thread < places.size(); ++thread)
        for (int cpu : places[thread])
          if (cpu == cpus[i]) thread_of[i] = static_cast<int32_t>(thread);
    }
  } catch (const std::bad_alloc&) {
    return OSSIA_BAD_MEMORY;
  }
  return OSSIA_OK;
}
