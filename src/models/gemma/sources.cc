// SPDX-License-Identifier: Apache-2.0
// Weights from a checkpoint, and random ones of the same shapes.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "models/gemma/weights.h"
#include "models/host_copy.h"

namespace mlxn::models {
namespace {

class CheckpointSource final : public WeightSource {
 public:
  CheckpointSource(const Device& device, const Checkpoint& checkpoint)
      : device_(device), checkpoint_(checkpoint) {}

  bool has(std::string_view name) const override { return checkpoint_.has(name); }
  Weight matrix(std::string_view name, const Shape& shape) override {
    return checkpoint_.weight(device_, name, shape);
  }
  std::vector<float> floats(std::string_view name, int64_t count) override {
    return checkpoint_.floats(name, count);
  }
  ExpertWeights experts(int64_t layer) override { return checkpoint_.experts(device_, layer); }
  void let_go(const Weight& weight) override { checkpoint_.let_go(weight); }

 private:
  Device device_;
  Checkpoint checkpoint_;
};

// SplitMix64 (Steele, Lea, Flood 2014): enough for weights that only have to look like weights.
class RandomBits {
 public:
  explicit RandomBits(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  float uniform(float bound) {  // -bound .. bound
    return (static_cast<float>(next() >> 40) * 0x1p-23f - 1.0f) * bound;
  }

 private:
  uint64_t state_;
};

class RandomSource final : public WeightSource {
 public:
  RandomSource(const Device& device, const ModelConfig& config, int bits, int group_size)
      : device_(device), config_(config), bits_(bits), group_size_(group_size), random_(1) {
    const bool affine = bits == 2 || bits == 3 || bits == 4 || bits == 5 || bits == 6 || bits == 8;
    if (!affine && bits != 16 && bits != 32) {
      throw Error(
          ErrorKind::kInvalidArgument,
          ErrorDetail{"Model::random", "bits", std::to_string(bits), "2, 3, 4, 5, 6, 8, 16 or 32"});
    }
    if (affine && group_size != 32 && group_size != 64 && group_size != 128) {
      throw Error(
          ErrorKind::kInvalidArgument,
          ErrorDetail{"Model::random", "group_size", std::to_string(group_size), "32, 64 or 128"});
    }
  }

  bool has(std::string_view name) const override {
    return name != "lm_head" || !config_.tie_word_embeddings;
  }

  Weight matrix(std::string_view, const Shape& shape) override {
    if (bits_ == 32) return dense(f32, shape);
    if (bits_ == 16 || shape.back() % group_size_ != 0) return dense(bf16, shape);
    return affine(shape);
  }

  std::vector<float> floats(std::string_view, int64_t count) override {
    return std::vector<float>(static_cast<size_t>(count), 1.0f);
  }

  ExpertWeights experts(int64_t) override {
    const int64_t count = config_.moe.num_experts;
    const int64_t width = config_.moe.intermediate_size;
    ExpertWeights out;
    out.gate = matrix({}, {count, width, config_.hidden_size});
    out.up = matrix({}, {count, width, config_.hidden_size});
    out.down = matrix({}, {count, config_.hidden_size, width});
    return out;
  }

 private:
  // Uniform values of variance 1 / K keep activations near unit size.
  static float bound(const Shape& shape) {
    return std::sqrt(3.0f / static_cast<float>(shape.back()));
  }

  Weight dense(DType dtype, const Shape& shape) {
    Weight weight;
    weight.format = dtype == f32 ? Format::kF32 : Format::kBF16;
    weight.shape = shape;
    const float limit = bound(shape);
    if (dtype == f32) {
      weight.data = filled_buffer<float>(device_, f32, shape, [&](std::span<float> values) {
        for (float& value : values) value = random_.uniform(limit);
      });
    } else {
      weight.data = filled_buffer<BF16>(device_, bf16, shape, [&](std::span<BF16> values) {
        for (BF16& value : values) value = to_bf16(random_.uniform(limit));
      });
    }
    return weight;
  }

  Weight affine(const Shape& shape) {
    Weight weight;
    weight.format = Format::kAffine;
    weight.shape = shape;
    weight.bits = bits_;
    weight.group_size = group_size_;
    Shape words = shape;
    words.back() = shape.back() / 32 * bits_;
    weight.data = filled_buffer<uint32_t>(device_, u32, words, [&](std::span<uint32_t> codes) {
      for (size_t i = 0; i + 1 < codes.size(); i += 2) {
        const uint64_t bits = random_.next();
        std::memcpy(&codes[i], &bits, sizeof bits);
      }
    });
    Shape groups = shape;
    groups.back() = shape.back() / group_size_;
    const float limit = bound(shape);
    const BF16 scale = to_bf16(2.0f * limit / static_cast<float>((1 << bits_) - 1));
    const auto all = [&](BF16 value) {
      return filled_buffer<BF16>(device_, bf16, groups, [&](std::span<BF16> values) {
        std::fill(values.begin(), values.end(), value);
      });
    };
    weight.scales = all(scale);
    weight.biases = all(to_bf16(-limit));
    return weight;
  }

  Device device_;
  ModelConfig config_;
  int bits_;
  int group_size_;
  RandomBits random_;
};

}  // namespace

std::unique_ptr<WeightSource> checkpoint_source(const Device& device,
                                                const Checkpoint& checkpoint) {
  return std::make_unique<CheckpointSource>(device, checkpoint);
}

std::unique_ptr<WeightSource> random_source(const Device& device, const ModelConfig& config,
                                            int bits, int group_size) {
  return std::make_unique<RandomSource>(device, config, bits, group_size);
}

}  // namespace mlxn::models
