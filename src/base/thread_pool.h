// SPDX-License-Identifier: Apache-2.0
// A fixed set of threads that run one function together: fork, join. Waiting spins briefly, then
// sleeps, so that a decode step pays about a microsecond and an idle process nothing.
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

// Lets num_threads threads meet, any number of times.
class SpinBarrier {
 public:
  explicit SpinBarrier(int num_threads) : num_threads_(num_threads) {}
  void arrive_and_wait();

 private:
  const int num_threads_;
  std::atomic<int> arrived_{0};
  std::atomic<uint32_t> generation_{0};
};

class ThreadPool {
 public:
  // num_threads includes the thread that calls run().
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return static_cast<int>(threads_.size()) + 1; }

  // Calls body(worker) once for each worker 0 .. num_threads - 1, the caller being worker 0, and
  // returns when all have returned. body must not throw. Calls from several threads take turns.
  void run(const std::function<void(int)>& body);

 private:
  void worker_loop(int worker);

  std::mutex run_mutex_;
  const std::function<void(int)>* body_ = nullptr;
  std::atomic<uint32_t> generation_{0};
  std::atomic<int> running_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace mlxn::base
