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

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

uint64_t peak_memory_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

uint64_t available_memory_bytes() {
  std::ifstream info("/proc/meminfo");
  std::string key;
  uint64_t kilobytes = 0;
  for (std::string unit; info >> key >> kilobytes; std::getline(info, unit)) {
    if (key == "MemAvailable:") return kilobytes * 1024;
  }
  return 0;
}

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
