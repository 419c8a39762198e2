// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <string>
#include <system_error>

#include "mlxn/error.h"

namespace mlxn::base {
namespace {

// About 20 us of pauses on current x86 cores: longer than a small op, shorter than a scheduler
// tick.
constexpr int kSpins = 4000;
// Between pauses and sleeping, the core is offered to whoever else is runnable.
constexpr int kYields = 16;
constexpr uint32_t kClosed = 1u << 31;

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

template <typename T>
void wait_while_equal(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  for (int i = 0; i < kYields; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    std::this_thread::yield();
  }
  value.wait(old, std::memory_order_acquire);
}

template void wait_while_equal(const std::atomic<uint32_t>&, uint32_t);

int available_cores() {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

ThreadPool::ThreadPool(int num_threads) : inside_(kClosed) {
  threads_.reserve(static_cast<size_t>(std::max(0, num_threads - 1)));
  try {
    for (int worker = 1; worker < num_threads; ++worker) {
      threads_.emplace_back([this, worker] { worker_loop(worker); });
    }
  } catch (const std::system_error& error) {
    stop();
    throw Error(ErrorKind::kBufferAllocation,
                ErrorDetail{"Device::open", "num_threads",
                            std::to_string(num_threads) + " (" + error.what() + ")",
                            "threads that the system can start"});
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stop_.store(true, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_acq_rel);
  generation_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void ThreadPool::run(const std::function<void(int)>& body) {
  const std::lock_guard<std::mutex> lock(run_mutex_);
  if (threads_.empty()) {
    body(0);
    return;
  }
  body_ = &body;
  inside_.store(0, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_acq_rel);
  generation_.notify_all();
  body(0);
  uint32_t inside = inside_.fetch_or(kClosed, std::memory_order_acq_rel) | kClosed;
  while (inside != kClosed) {
    wait_while_equal(inside_, inside);
    inside = inside_.load(std::memory_order_acquire);
  }
}

void ThreadPool::worker_loop(int worker) {
  uint32_t seen = 0;
  while (true) {
    wait_while_equal(generation_, seen);
    seen = generation_.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_acquire)) return;
    uint32_t inside = inside_.load(std::memory_order_acquire);
    while ((inside & kClosed) == 0 &&
           !inside_.compare_exchange_weak(inside, inside + 1, std::memory_order_acq_rel)) {
    }
    if ((inside & kClosed) != 0) continue;
    (*body_)(worker);
    inside_.fetch_sub(1, std::memory_order_acq_rel);
    inside_.notify_all();
  }
}

}  // namespace mlxn::base
