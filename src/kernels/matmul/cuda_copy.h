// SPDX-License-Identifier: Apache-2.0
// Copies from device to threadgroup memory that nobody waits for until the data is needed. From
// sm_90 on one thread starts a bulk copy, whose bytes a barrier in threadgroup memory counts;
// before, every thread copies 16 bytes at a time. Addresses and sizes are multiples of 16.
// Also the sharing out of registers, which targets of one architecture or family (sm_90a, sm_100f)
// have, and compute_90 and the like have not.
#pragma once
#include "kernels/common/cuda_mma.h"

namespace mlxn {
namespace gpu {
namespace panels {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#define MLXN_BULK_COPIES 1
#else
#define MLXN_BULK_COPIES 0
#endif
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(__CUDA_ARCH_FEAT_SM100_ALL) || \
    defined(__CUDA_ARCH_SPECIFIC__) || defined(__CUDA_ARCH_FAMILY_SPECIFIC__)
#define MLXN_MOVES_REGISTERS 1
#else
#define MLXN_MOVES_REGISTERS 0
#endif

#if MLXN_BULK_COPIES
// True in one lane of a simdgroup, all of which ask.
GPU_FN bool is_elected() {
  uint elected;
  asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}"
               : "=r"(elected));
  return elected != 0;
}
// One lane: arrives at a barrier, which then waits for `bytes` of bulk copies.
GPU_FN void expect_bytes(uint barrier, uint bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}
GPU_FN void bulk_copy(uint barrier, void* to, const void* from, uint bytes) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}
#else
// By the lanes of a simdgroup.
GPU_FN void copy_by_lanes(void* to, const void* from, uint bytes) {
  const uchar* const source = static_cast<const uchar*>(from);
#pragma unroll 1
  for (uint at = threadIdx.x % 32 * 16; at < bytes; at += 32 * 16) {
    copy_ahead(shared_address(to) + at, source + at);
  }
}
#endif

GPU_FN void init_barrier(uint barrier, uint arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// Makes initialised barriers known to bulk copies.
GPU_FN void publish_barriers() {
#if MLXN_BULK_COPIES
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}
GPU_FN void arrive_at_barrier(uint barrier) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(barrier)
               : "memory");
}
// Waits until a barrier has left the phase, counted from 0, of this parity.
GPU_FN void wait_barrier(uint barrier, uint parity) {
#if MLXN_BULK_COPIES
#define MLXN_MBARRIER_WAIT "mbarrier.try_wait"
#else
#define MLXN_MBARRIER_WAIT "mbarrier.test_wait"
#endif
  uint done = 0;
  while (done == 0) {
    asm volatile("{\n.reg .pred p;\n" MLXN_MBARRIER_WAIT
                 ".parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
  }
#undef MLXN_MBARRIER_WAIT
}

// Kept in a register, not computed again where it is used.
GPU_FN void keep(uint& value) { asm volatile("" : "+r"(value)); }

// A stream of items, each one or more copies, that a simdgroup takes through kStages places in
// threadgroup memory. All its lanes call every member. An item's place may be written again once
// all of them have read it.
template <int kStages>
class CopyStream {
 public:
  GPU_FN explicit CopyStream(const ulong* barriers) : barriers_(shared_address(barriers)) {
    keep(barriers_);
  }

  // Before the first item; then the lanes synchronise.
  GPU_FN void init(uint lane) const {
#if MLXN_BULK_COPIES
    if (lane == 0) {
      UNROLL for (uint i = 0; i < kStages; i++) init_barrier(barrier_of(i), 1);
      publish_barriers();
    }
#endif
  }
  // Opens an item of `bytes` in all, which copy() calls follow; close() ends it.
  GPU_FN void open(uint item, uint bytes) const {
#if MLXN_BULK_COPIES
    if (is_elected()) expect_bytes(barrier_of(item), bytes);
#endif
  }
  GPU_FN void copy(uint item, void* to, const void* from, uint bytes) const {
#if MLXN_BULK_COPIES
    if (is_elected()) bulk_copy(barrier_of(item), to, from, bytes);
#else
    copy_by_lanes(to, from, bytes);
#endif
  }
  GPU_FN void close() const {
#if !MLXN_BULK_COPIES
    close_copies();
#endif
  }
  // Opens an item of one copy, and copies it.
  GPU_FN void start(uint item, void* to, const void* from, uint bytes) const {
#if MLXN_BULK_COPIES
    if (is_elected()) {
      expect_bytes(barrier_of(item), bytes);
      bulk_copy(barrier_of(item), to, from, bytes);
    }
#else
    copy_by_lanes(to, from, bytes);
#endif
  }
  // Waits for the copies of an item after which kLater have been closed. Those of other lanes are
  // visible after the lanes have synchronised.
  template <int kLater>
  GPU_FN void wait(uint item) const {
#if MLXN_BULK_COPIES
    wait_barrier(barrier_of(item), item / kStages & 1);
#else
    wait_copies<kLater>();
#endif
  }

 private:
  GPU_FN uint barrier_of(uint item) const { return barriers_ + 8 * (item % kStages); }

  uint barriers_;
};

// Four simdgroups side by side give registers back, so that others have more than their share of
// what a compute unit has.
template <int kCount>
GPU_FN void give_registers() {
#if MLXN_MOVES_REGISTERS
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}
template <int kCount>
GPU_FN void take_registers() {
#if MLXN_MOVES_REGISTERS
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}

// Item after item of a stream comes to the next place; `number` items were there before it.
struct StreamPlace {
  uint at = 0, number = 0;

  GPU_FN void next(uint places) {
    if (++at == places) at = 0, number++;
  }
};

// A stream that one simdgroup, all of whose threads call, fills for others to read.
//   barriers [2][places]: of a place filled, of a place read
class FedStream {
 public:
  const uint places;

  GPU_FN FedStream(const ulong* barriers, uint the_places)
      : places(the_places), filled_(shared_address(barriers)) {
    keep(filled_);
  }

  // By one thread, before all synchronise. Readers are simdgroups.
  GPU_FN void init(uint readers) const {
    for (uint i = 0; i < places; i++) {
      init_barrier(filled(i), MLXN_BULK_COPIES ? 1 : 32);
      init_barrier(read(i), 32 * readers);
    }
    publish_barriers();
  }
  // Opens an item of `bytes` in all once its place is free; copy() follows, and close().
  GPU_FN void open(StreamPlace to, uint bytes) const {
    if (to.number > 0) wait_barrier(read(to.at), (to.number - 1) & 1);
#if MLXN_BULK_COPIES
    if (is_elected()) expect_bytes(filled(to.at), bytes);
#endif
  }
  GPU_FN void copy(StreamPlace at, void* to, const void* from, uint bytes) const {
#if MLXN_BULK_COPIES
    if (is_elected()) bulk_copy(filled(at.at), to, from, bytes);
#else
    copy_by_lanes(to, from, bytes);
#endif
  }
  GPU_FN void close(StreamPlace at) const {
#if !MLXN_BULK_COPIES
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(filled(at.at)) : "memory");
#endif
  }
  // After the last item: copies do not outlive the threads that have started them.
  GPU_FN void finish() const {
#if !MLXN_BULK_COPIES
    close_copies();
    wait_copies<0>();
#endif
  }
  // Readers, by simdgroups: an item is there; what was at a place has been read.
  GPU_FN void wait(StreamPlace at) const { wait_barrier(filled(at.at), at.number & 1); }
  GPU_FN void release(uint place) const { arrive_at_barrier(read(place)); }

 private:
  GPU_FN uint filled(uint place) const { return filled_ + 8 * place; }
  GPU_FN uint read(uint place) const { return filled_ + 8 * (places + place); }

  uint filled_;
};

}  // namespace panels
}  // namespace gpu
}  // namespace mlxn
