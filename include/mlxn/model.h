// SPDX-License-Identifier: Apache-2.0
// A decoder with its weights and KV caches, ready to run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "mlxn/checkpoint.h"
#include "mlxn/device.h"
#include "mlxn/export.h"
#include "mlxn/kv_type.h"
#include "mlxn/model_config.h"
#include "mlxn/stream.h"

namespace mlxn {

struct ModelOptions {
  // Tokens a sequence may hold, prompt and reply together. 0: what the model was trained for, at
  // most 8192.
  int64_t max_context = 0;
  int batch = 1;                         // sequences that are decoded together
  KvType kv_type = DType::kF16;          // f32, f16, bf16, or codes of 2 to 8 bits
  std::optional<KvType> kv_type_v = {};  // of values: codes of another width; empty: kv_type
  bool kv_norm_correction = false;       // codes alone: as KvCacheShape::norm_correction
  // Tokens of a prompt that go through the layers at once. Multiples of 64 give the bits of an
  // uncut prompt; sliding layers keep a ring of window + prefill_chunk - 1 slots, rounded up.
  int64_t prefill_chunk = 512;
  bool prepare = true;  // repack weights for the device
  // Called while weights load, with the part that is done, 0 to 1.
  std::function<void(double fraction)> progress = {};
};

// Bytes that a model takes. Known before anything is loaded.
struct ModelMemory {
  uint64_t weights = 0;   // as stored in the file
  uint64_t mapped = 0;    // of these, what a CPU reads where the file is mapped
  uint64_t prepared = 0;  // repacked copies
  uint64_t caches = 0;    // keys and values of `batch` sequences
  uint64_t scratch = 0;   // activations; what ops need inside is not counted

  uint64_t total() const { return weights + prepared + caches + scratch; }
  // What has to be free. Mapped pages can be dropped and read again.
  uint64_t needed() const { return total() - mapped; }
};

// Caches and scratch follow from the configuration alone; weights and prepared are 0.
MLXN_API ModelMemory estimate_memory(const ModelConfig& config, const ModelOptions& options);
// Asks nothing of the device's memory.
MLXN_API ModelMemory estimate_memory(const Device& device, const Checkpoint& checkpoint,
                                     const ModelOptions& options);
// Throws kBufferAllocation with the bytes of each part and those that are free, unless the device
// has what `memory` needs or does not know what it has.
MLXN_API void check_memory(const Device& device, const ModelMemory& memory);

class ModelImpl;

// One sequence is one row of the caches, 0 .. batch - 1. Not for use by two threads at once. Copies
// share everything.
class MLXN_API Model {
 public:
  // Checks the shape of every tensor the configuration asks for. Throws what Checkpoint throws,
  // kInvalidArgument for options outside their range, and what check_memory throws before the
  // device is asked for any memory.
  static Model load(const Device& device, const Checkpoint& checkpoint, ModelOptions options = {});
  // Random weights for measuring a shape without a file: affine with `bits` 2, 3, 4, 5, 6 or 8 per
  // group where group_size divides the row, bf16 otherwise; bits 16: all bf16; bits 32: f32.
  static Model random(const Device& device, const ModelConfig& config, int bits, int group_size,
                      ModelOptions options = {});
  // Another model over the weights of this one, with caches and lengths of its own, for which there
  // must be memory.
  Model sharing_weights(ModelOptions options) const;

  const Device& device() const;
  const ModelConfig& config() const;
  const ModelOptions& options() const;  // max_context filled in
  ModelMemory memory() const;           // what is allocated
  uint64_t weight_bytes() const { return memory().weights; }
  uint64_t kv_bytes() const { return memory().caches; }
  // Oddities of the checkpoint that did not stop the load.
  const std::vector<std::string>& warnings() const;

  // Tokens that the caches of a sequence hold.
  int64_t length(int sequence = 0) const;
  // Forgets all sequences.
  void reset();
  // Keeps the first `length` tokens of a sequence. False, and nothing changed, if the rings have
  // already overwritten what those tokens need.
  bool trim(int sequence, int64_t length);

  // Runs tokens after what the sequence holds and returns logits (after the soft cap) of the last
  // position [V], or of all of them [T, V]. Throws kContextFull, and kInvalidArgument for an id
  // outside the vocabulary.
  std::vector<float> prefill(int sequence, std::span<const int32_t> tokens,
                             bool all_positions = false);
  // One token for each of the first tokens.size() sequences; logits [tokens.size(), V].
  std::vector<float> decode(std::span<const int32_t> tokens);
  // reset() and prefill of sequence 0.
  std::vector<float> logits(std::span<const int32_t> tokens, bool all_positions = false);

  // Timing of every dispatch that runs from now on; see chrome_trace_json.
  void set_profiling(bool on) const;
  std::vector<ProfileEvent> take_profile() const;

  ModelImpl& impl() const { return *impl_; }

 private:
  explicit Model(std::shared_ptr<ModelImpl> impl);
  std::shared_ptr<ModelImpl> impl_;
};

}  // namespace mlxn
