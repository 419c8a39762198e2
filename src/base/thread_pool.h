// SPDX-License-Identifier: Apache-2.0
// A fixed set of threads that help with one function at a time. Waiting spins briefly, then sleeps,
// so that a decode step pays about a microsecond and an idle process nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace mlxn::base {

// Cores this process may run on.
int available_cores();

// Returns when `value` is no longer `old`: spins briefly, yields, then sleeps until notified.
template <typename T>
void wait_while_equal(const std::atomic<T>& value, T old);

extern template void wait_while_equal(const std::atomic<uint32_t>&, uint32_t);

class ThreadPool {
 public:
  // num_threads includes the thread that calls run(). Throws kBufferAllocation if the system cannot
  // start that many.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls body(0) on this thread; each other worker that is free before body(0) has returned calls
  // body(its number) beside it. Returns when all that began have ended. So body must hand out its
  // work dynamically, and a worker that the system keeps waiting holds nobody up. body must not
  // throw. Calls from several threads take turns.
  void run(const std::function<void(int)>& body);

 private:
  void worker_loop(int worker);
  void stop();

  std::mutex run_mutex_;
  const std::function<void(int)>* body_ = nullptr;
  std::atomic<uint32_t> generation_{0};
  // Workers inside body_, plus kClosed while no one may enter.
  std::atomic<uint32_t> inside_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace mlxn::base
