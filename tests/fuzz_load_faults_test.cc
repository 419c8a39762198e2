// SPDX-License-Identifier: Apache-2.0
// Every allocation of a load is made to fail, once alone and once with all that follow: a typed
// error comes out, nothing leaks (the asan preset watches the heap), and the next load is as ever.
#include <gtest/gtest.h>

#include <exception>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "failing_memory.h"
#include "golden_kit.h"
#include "mlxn/mlxn.h"

namespace mlxn {
namespace {

using golden::path_of;
using testing::Failing;
using testing::FailingMemory;

constexpr size_t kEveryOneUpTo = 200;
// Beyond the first 200 as many allocations again, spread over the rest.
constexpr size_t kSpread = 100;

struct Outcome {
  size_t refused = 0;   // runs that ended in an error
  size_t absorbed = 0;  // runs that did without the memory
  size_t mapped = 0;    // allocations by aligned_alloc and mmap in a whole run
};

std::vector<size_t> which_fail(size_t total) {
  std::vector<size_t> numbers;
  for (size_t n = 1; n <= std::min(total, kEveryOneUpTo); ++n) numbers.push_back(n);
  const size_t step = total > kEveryOneUpTo ? (total - kEveryOneUpTo) / kSpread + 1 : 1;
  for (size_t n = kEveryOneUpTo + step; n <= total; n += step) numbers.push_back(n);
  if (numbers.back() != total) numbers.push_back(total);
  return numbers;
}

void expect_clean(const Error& error) {
  const std::string text = error.what();
  EXPECT_EQ(name(error.kind()), name(ErrorKind::kBufferAllocation)) << text;
  EXPECT_FALSE(error.detail().where.empty()) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
}

// run() returns an object, show(object) what is comparable about it.
template <typename Run, typename Show>
Outcome fail_everywhere(Run run, Show show) {
  Outcome outcome;
  const auto want = show(run());  // also builds what is built once in a process
  {
    std::optional<decltype(run())> result;
    {
      const FailingMemory memory(0);
      result.emplace(run());
    }
    EXPECT_EQ(show(*result), want);
  }
  const size_t total = FailingMemory::asked();
  outcome.mapped = FailingMemory::asked_mapped();
  const size_t mappings = testing::live_mappings();
  for (const Failing mode : {Failing::kOne, Failing::kAllBeyond}) {
    for (const size_t n : which_fail(total)) {
      SCOPED_TRACE("allocation " + std::to_string(n) + " of " + std::to_string(total) +
                   (mode == Failing::kOne ? "" : " and all beyond"));
      std::optional<decltype(run())> result;
      try {
        const FailingMemory memory(n, mode);
        result.emplace(run());
      } catch (const Error& error) {
        expect_clean(error);
        ++outcome.refused;
      } catch (const std::exception& error) {
        ADD_FAILURE() << "not an mlxn::Error: " << error.what();
      }
      if (result) {
        ++outcome.absorbed;
        EXPECT_EQ(show(*result), want);
        result.reset();
      }
      EXPECT_EQ(testing::live_mappings(), mappings);
      if (n % 16 == 1) {
        EXPECT_EQ(show(run()), want) << "the load after";
      }
      if (::testing::Test::HasFailure()) return outcome;
    }
  }
  EXPECT_EQ(show(run()), want);
  return outcome;
}

std::string describe(const Checkpoint& checkpoint) {
  std::string text = checkpoint.config().model_type + " " +
                     std::to_string(checkpoint.config().num_layers()) + " " +
                     checkpoint.config().quantization.description;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    text += "\n" + tensor.name + " " + tensor.dtype + " " + to_string(tensor.shape);
  }
  for (const std::string& warning : checkpoint.warnings()) text += "\n" + warning;
  return text;
}

// A handful of absorbed failures is fine: a buffer that could not grow, a line of /proc unread.
void expect_mostly_refused(const Outcome& outcome) {
  EXPECT_GE(outcome.refused, 100u);
  EXPECT_LE(outcome.absorbed, 10u);
}

TEST(LoadFaults, OpenCheckpoint) {
  for (const char* model : {"tests/goldens/gemma4_moe_q8_0/model.gguf", "gemma4_moe_mlx4", "gemma3",
                            "src/checkpoint/testdata/gemma4_raw",
                            "src/checkpoint/testdata/gemma3_split-00001-of-00002.gguf"}) {
    SCOPED_TRACE(model);
    const std::string path = path_of(model);
    const Outcome outcome = fail_everywhere([&] { return Checkpoint::open(path); }, describe);
    expect_mostly_refused(outcome);
    EXPECT_GE(outcome.mapped, 1u);
  }
}

TEST(LoadFaults, LoadTokenizer) {
  for (const char* model : {"demo/model-mlx-4bit", "demo/model-q4_0.gguf"}) {
    SCOPED_TRACE(model);
    const Checkpoint checkpoint = Checkpoint::open(path_of(model));
    const Outcome outcome =
        fail_everywhere([&] { return load_tokenizer(checkpoint); },
                        [](const Tokenizer& tokenizer) {
                          return std::pair(tokenizer.encode("A little red fox, 1984 \xc3\xa9\n"),
                                           tokenizer.has_chat_template());
                        });
    expect_mostly_refused(outcome);
  }
}

TEST(LoadFaults, OpenDevice) {
  const Outcome outcome =
      fail_everywhere([] { return Device::open("cpu", {.num_threads = 3}); },
                      [](const Device& device) { return device.num_threads(); });
  EXPECT_GE(outcome.refused, 5u);
}

TEST(LoadFaults, LoadModel) {
  const Device device = Device::open("cpu", {.num_threads = 2});
  const std::vector<int32_t> prompt = {2, 5, 9, 17};
  for (const char* model :
       {"tests/goldens/gemma4_e_q4_0/model.gguf", "gemma4_moe_mlx4", "gemma3"}) {
    SCOPED_TRACE(model);
    const Checkpoint checkpoint = Checkpoint::open(path_of(model));
    const Outcome outcome =
        fail_everywhere([&] { return Model::load(device, checkpoint, {.max_context = 64}); },
                        [&](Model loaded) { return loaded.logits(prompt); });
    expect_mostly_refused(outcome);
    EXPECT_GE(outcome.mapped, 20u);
    EXPECT_EQ(device.allocated_bytes(), 0u);
  }
}

TEST(LoadFaults, Generate) {
  const Device device = Device::open("cpu", {.num_threads = 2});
  const Checkpoint checkpoint = Checkpoint::open(path_of("demo/model-q4_0.gguf"));
  const Tokenizer tokenizer = load_tokenizer(checkpoint);
  const Model model = Model::load(device, checkpoint, {.max_context = 64});
  const std::vector<std::vector<int32_t>> prompts = {tokenizer.encode("The fox")};
  const Outcome outcome = fail_everywhere(
      [&] {
        Generator generator(model, tokenizer);
        return generator.run(prompts, {.max_tokens = 3});
      },
      [](const std::vector<GenerateResult>& results) { return results.at(0).tokens; });
  EXPECT_GE(outcome.refused, 100u);
}

TEST(LoadFaults, Pool) {
  const Device device = Device::open("cpu", {.num_threads = 1});
  const Shape small = {100}, large = {3000}, larger = {9000};
  const Outcome outcome = fail_everywhere(
      [&] {
        BufferPool pool(device);
        const Buffer first = pool.alloc(f32, small), second = pool.alloc(f32, large);
        const Buffer third = pool.alloc(f32, larger);
        pool.release(first);
        try {
          pool.reset();
        } catch (const Error&) {
          // Every buffer is in one of the lists still.
          EXPECT_EQ(pool.free_count() + pool.in_use_count(), 3u);
          pool.reset();
          throw;
        }
        return pool.free_count();
      },
      [](size_t count) { return count; });
  EXPECT_GE(outcome.refused, 15u);
  EXPECT_EQ(device.allocated_bytes(), 0u);
}

TEST(LoadFaults, Prepare) {
  const Device device = Device::open("cpu", {.num_threads = 2});
  const Checkpoint checkpoint = Checkpoint::open(path_of("demo/model-q4_0.gguf"));
  const ModelConfig& config = checkpoint.config();
  const Weight weight =
      checkpoint.weight(device, "embed_tokens", {config.vocab_size, config.hidden_size});
  const Outcome outcome = fail_everywhere(
      [&] { return std::pair(prepare(device, weight), prepared_bytes(device, weight)); },
      [](const std::pair<Weight, size_t>& prepared) {
        EXPECT_EQ(prepared.first.packed.byte_len(), prepared.second);
        return prepared.second;
      });
  EXPECT_GE(outcome.refused, 20u);
}

// What answers without work on a device.
TEST(LoadFaults, ListsAndTables) {
  const Device device = Device::open("cpu", {.num_threads = 1});
  const auto expect_refusals = [](const char* what, auto run, auto show) {
    SCOPED_TRACE(what);
    EXPECT_GE(fail_everywhere(run, show).refused, 2u);
  };
  const auto itself = [](const auto& values) { return values; };
  expect_refusals(
      "doctor", [&] { return doctor(device); },
      [](const std::vector<KernelReport>& reports) {
        std::string text;
        for (const KernelReport& report : reports) text += report.op + report.chosen;
        return text;
      });
  // The name and the memory of the CPU are read from files as far as memory allows.
  expect_refusals(
      "Device::list", [] { return Device::list(); },
      [](const std::vector<DeviceInfo>& devices) {
        std::string text;
        for (const DeviceInfo& info : devices) text += info.id + info.reason;
        return text;
      });
  expect_refusals(
      "quantize_types", [] { return quantize_types(OutputFormat::kGguf); }, itself);
  expect_refusals(
      "rope_frequencies", [] { return ops::rope_frequencies(1e4, 256, 256); }, itself);
  expect_refusals(
      "tq_codebook", [] { return ops::tq_codebook(8); }, itself);
  expect_refusals(
      "tq_signs", [] { return ops::tq_signs(); }, itself);
  expect_refusals(
      "lloyd_max", [] { return ops::lloyd_max(3); }, itself);
  const std::vector<uint8_t> indices(64, 3);
  expect_refusals(
      "tq_stream_pack", [&] { return ops::tq_stream_pack(ops::TqStream::k3, indices); }, itself);
  expect_refusals(
      "tq_stream_unpack", [&] { return ops::tq_stream_unpack(ops::TqStream::k3, indices, 64); },
      itself);
}

// Rows too long for the stack of a task: the threads of the pool allocate.
TEST(LoadFaults, TasksOnWorkers) {
  const Device device = Device::open("cpu", {.num_threads = 3});
  constexpr int64_t kRows = 64, kDim = 4096;
  const Buffer x = device.alloc(f16, {kRows, kDim});
  const Buffer out = device.alloc(f16, {kRows, kDim});
  Stream stream(device);
  const ops::RmsNormArgs args = {.x = x, .weight = {}, .out = out, .eps = 1e-6f};
  const Outcome outcome = fail_everywhere(
      [&] {
        try {
          ops::rms_norm(stream, args);
          stream.commit().wait();
        } catch (...) {
          stream.discard();
          throw;
        }
        return 0;
      },
      [](int nothing) { return nothing; });
  EXPECT_GE(outcome.refused, static_cast<size_t>(kRows));
}

TEST(LoadFaults, QuantizeLeavesNothingBehind) {
  namespace fs = std::filesystem;
  std::string pattern = (fs::temp_directory_path() / "mlxn_faults_XXXXXX").string();
  ASSERT_NE(mkdtemp(pattern.data()), nullptr);
  const fs::path directory = pattern;
  const auto files = [&] {
    return std::distance(fs::directory_iterator(directory), fs::directory_iterator());
  };
  const std::string source = path_of("gemma4_dense");
  const std::string target = (directory / "out.gguf").string();
  QuantizeOptions options;
  options.format = OutputFormat::kGguf;
  options.type = "q8_0";
  options.num_threads = 2;
  const Outcome outcome = fail_everywhere([&] { return quantize(source, target, options); },
                                          [&](const QuantizeResult& result) {
                                            fs::remove_all(target);
                                            EXPECT_EQ(files(), 0);
                                            return result.bytes_out;
                                          });
  expect_mostly_refused(outcome);
  EXPECT_EQ(files(), 0);
  fs::remove_all(directory);
}

}  // namespace
}  // namespace mlxn
