// SPDX-License-Identifier: Apache-2.0
#include "machine.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>

namespace mlxn::cli {
namespace {

// Eight independent sums let the loads run ahead of the additions.
uint64_t sum_words(const uint64_t* words, size_t count) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i + 8 <= count; i += 8) {
    for (size_t lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
  }
  uint64_t total = 0;
  for (uint64_t sum : sums) total += sum;
  return total;
}

// The number behind `key` in a file of lines "Key:  number kB"; 0 if it is not there.
uint64_t kilobytes_of(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) == 0) return std::strtoull(line.c_str() + key.size(), nullptr, 10);
  }
  return 0;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

uint64_t peak_memory_bytes() {
  if (const uint64_t peak = kilobytes_of("/proc/self/status", "VmHWM:")) return peak * 1024;
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
#if defined(__APPLE__)
  return static_cast<uint64_t>(usage.ru_maxrss);
#else
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
#endif
}

// "5" asks for VmHWM to be reset: proc(5), /proc/pid/clear_refs.
void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

double measure_read_bandwidth(int num_threads) {
  constexpr size_t kWords = (size_t{512} << 20) / sizeof(uint64_t);
  constexpr int kPasses = 5;
  std::vector<uint64_t> words(kWords);
  for (size_t i = 0; i < kWords; ++i) words[i] = i;
  std::vector<uint64_t> sums(static_cast<size_t>(num_threads));
  double best = 0.0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    const size_t share = kWords / static_cast<size_t>(num_threads);
    for (size_t i = 0; i < sums.size(); ++i) {
      threads.emplace_back([&, i] { sums[i] += sum_words(words.data() + i * share, share); });
    }
    for (auto& thread : threads) thread.join();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(kWords * sizeof(uint64_t)) / seconds);
  }
  // The sums feed a result that is never true, so that the reads cannot be left out.
  uint64_t total = 0;
  for (uint64_t sum : sums) total += sum;
  return total == 1 ? 0.0 : best;
}

std::string hugging_face_cache() {
  if (std::string cache = environment("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (std::string home = environment("HF_HOME"); !home.empty()) return home + "/hub";
  return environment("HOME") + "/.cache/huggingface/hub";
}

}  // namespace mlxn::cli
