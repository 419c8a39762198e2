// SPDX-License-Identifier: Apache-2.0
#include "mlxn/model.h"

#include <fmt/format.h>

#include <utility>

#include "base/no_memory.h"
#include "models/host_copy.h"
#include "models/model_impl.h"

namespace mlxn {
namespace {

std::vector<float> copy_logits(ModelImpl& model, int64_t rows) {
  return models::copy_out<float>(model.device(), model.decoder().scratch().logits(rows));
}

}  // namespace

ModelMemory estimate_memory(const ModelConfig& config, const ModelOptions& options) try {
  const models::Plan plan = models::make_plan(config, options);
  ModelMemory memory;
  memory.caches = models::cache_bytes(plan);
  memory.scratch = models::scratch_bytes(plan);
  return memory;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

ModelMemory estimate_memory(const Device& device, const Checkpoint& checkpoint,
                            const ModelOptions& options) try {
  ModelMemory memory = estimate_memory(checkpoint.config(), options);
  // On the host, whose buffers are the mapped file; a GPU would take a copy of everything.
  const Device host = Device::open("cpu", {.num_threads = 1});
  const auto source = models::checkpoint_source(host, checkpoint);
  const models::GemmaWeights weights =
      models::load_weights(host, checkpoint.config(), *source, {.prepare = false, .progress = {}});
  const models::WeightBytes bytes = models::count_bytes(device.kind(), weights);
  memory.weights = bytes.stored;
  memory.mapped = bytes.mapped;
  memory.prepared = options.prepare ? bytes.prepared : 0;
  return memory;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

void check_memory(const Device& device, const ModelMemory& memory) try {
  const DeviceMemory found = device.memory();
  const uint64_t needed = memory.needed();
  // No byte left is news of a GPU only; a host would not have come this far.
  const bool is_unknown =
      found.total == 0 || (found.free == 0 && device.kind() == DeviceKind::kCpu);
  if (is_unknown || needed <= found.free) return;
  std::string required =
      fmt::format("{} bytes: weights {} + repacked {} + caches {} + scratch {}", needed,
                  memory.weights - memory.mapped, memory.prepared, memory.caches, memory.scratch);
  if (memory.mapped > 0)
    required += fmt::format(" beside {} of weights in the file", memory.mapped);
  throw Error(
      ErrorKind::kBufferAllocation,
      ErrorDetail{"model", "memory",
                  fmt::format("{} bytes free of {} on {}", found.free, found.total, device.name()),
                  required + "; a shorter context or a smaller batch needs less"});
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Model::Model(std::shared_ptr<ModelImpl> impl) : impl_(std::move(impl)) {}

Model Model::load(const Device& device, const Checkpoint& checkpoint, ModelOptions options) try {
  const ModelConfig& config = checkpoint.config();
  check_memory(device, estimate_memory(device, checkpoint, options));
  const auto source = models::checkpoint_source(device, checkpoint);
  models::GemmaWeights weights =
      models::load_weights(device, config, *source, {options.prepare, options.progress});
  return Model(std::make_shared<ModelImpl>(device, config, std::move(weights), std::move(options),
                                           checkpoint.warnings()));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Model Model::random(const Device& device, const ModelConfig& config, int bits, int group_size,
                    ModelOptions options) try {
  check_memory(device, estimate_memory(config, options));  // of caches and scratch
  const auto source = models::random_source(device, config, bits, group_size);
  models::GemmaWeights weights =
      models::load_weights(device, config, *source, {options.prepare, options.progress});
  return Model(std::make_shared<ModelImpl>(device, config, std::move(weights), std::move(options),
                                           std::vector<std::string>{}));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Model Model::sharing_weights(ModelOptions options) const try {
  options.prepare = this->options().prepare;
  check_memory(device(), estimate_memory(config(), options));
  return Model(std::make_shared<ModelImpl>(device(), config(), impl_->decoder().weights(),
                                           std::move(options), warnings()));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

const Device& Model::device() const { return impl_->device(); }
const ModelConfig& Model::config() const { return impl_->config(); }
const ModelOptions& Model::options() const { return impl_->options(); }
ModelMemory Model::memory() const { return impl_->memory(); }
const std::vector<std::string>& Model::warnings() const { return impl_->warnings(); }
int64_t Model::length(int sequence) const { return impl_->length(sequence); }
void Model::set_profiling(bool on) const { impl_->stream().set_profiling(on); }
std::vector<ProfileEvent> Model::take_profile() const { return impl_->stream().take_profile(); }
void Model::reset() {
  impl_->claim(0);
  impl_->reset();
}
bool Model::trim(int sequence, int64_t length) {
  impl_->claim(0);
  return impl_->trim(sequence, length);
}

std::vector<float> Model::prefill(int sequence, std::span<const int32_t> tokens,
                                  bool all_positions) try {
  impl_->claim(0);
  impl_->check_prompt(sequence, tokens);
  if (!all_positions) {
    impl_->prefill(sequence, tokens);
    return copy_logits(*impl_, 1);
  }
  std::vector<float> logits(tokens.size() * static_cast<size_t>(config().vocab_size));
  impl_->prefill(sequence, tokens, logits.data());
  return logits;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

std::vector<float> Model::decode(std::span<const int32_t> tokens) try {
  const auto batch = static_cast<int64_t>(tokens.size());
  if (batch < 1 || batch > options().batch) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Model::decode", "tokens", std::to_string(batch),
                            "1 .. " + std::to_string(options().batch)});
  }
  for (int32_t id : tokens) impl_->check_token(id);
  impl_->claim(0);
  impl_->set_step_tokens(tokens);
  impl_->queue_decode(batch);
  impl_->stream().commit().wait();
  impl_->advance(batch);
  return copy_logits(*impl_, batch);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

std::vector<float> Model::logits(std::span<const int32_t> tokens, bool all_positions) try {
  reset();
  return prefill(0, tokens, all_positions);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
