// SPDX-License-Identifier: Apache-2.0
#include "mlxn/quantize.h"

#include <filesystem>
#include <utility>

#include "base/no_memory.h"
#include "checkpoint/fail.h"
#include "convert/config_check.h"
#include "convert/conversion.h"
#include "convert/encode.h"
#include "mlxn/checkpoint.h"

namespace mlxn::convert {
namespace {

void check_options(const std::string& output, const QuantizeOptions& options) {
  constexpr int kMaxThreads = 1024;
  if (options.num_threads < 0 || options.num_threads > kMaxThreads) {
    checkpoint::fail(ErrorKind::kInvalidArgument, "quantize", "num_threads",
                     std::to_string(options.num_threads), "0 to 1024");
  }
  if (options.format == OutputFormat::kGguf && !output.ends_with(".gguf")) {
    checkpoint::fail(ErrorKind::kInvalidArgument, "quantize", "destination",
                     checkpoint::in_quotes(output), "a name that ends in .gguf");
  }
}

// Values that no other tensor's rows need go first: they are part of the description.
class Run {
 public:
  Run(const QuantizeOptions& options, WrittenFiles& written)
      : options_(options),
        written_(written),
        encoder_(options.num_threads, options.measure_errors,
                 [this](uint64_t bytes) { return advance(bytes); }) {
    for (const PlannedTensor& tensor : written.tensors) {
      progress_.bytes_total += source_bytes(tensor);
    }
  }

  // Generated tensors; they come from no file.
  bool write_generated() {
    for (const PlannedTensor& tensor : written_.tensors) {
      if (tensor.source.stored == nullptr && !write(tensor, nullptr)) return false;
    }
    return true;
  }

  // Everything else, and the table of results.
  bool write_all(QuantizeResult& result) {
    uint64_t elements = 0;
    for (const PlannedTensor& tensor : written_.tensors) {
      TensorErrors errors;
      if (tensor.source.stored != nullptr && !write(tensor, &errors)) return false;
      const auto count = static_cast<uint64_t>(tensor.rows() * tensor.cols());
      const double bits =
          count > 0 ? 8.0 * static_cast<double>(tensor.total_bytes()) / static_cast<double>(count)
                    : 0.0;
      result.tensors.push_back({tensor.name, describe(tensor.encoding), tensor.shape,
                                tensor.total_bytes(), bits, errors.relative_rms, errors.max_abs});
      result.bytes_in += source_bytes(tensor);
      result.bytes_out += tensor.total_bytes();
      elements += count;
    }
    if (elements > 0) {
      result.bits_per_weight =
          8.0 * static_cast<double>(result.bytes_out) / static_cast<double>(elements);
    }
    return true;
  }

 private:
  static uint64_t source_bytes(const PlannedTensor& tensor) {
    if (tensor.source.stored == nullptr) return 0;
    const auto cols = static_cast<size_t>(tensor.cols());
    return static_cast<uint64_t>(tensor.rows() *
                                 quant::row_bytes(stored_format(*tensor.source.stored)->format, 0,
                                                  static_cast<int64_t>(cols)));
  }

  bool write(const PlannedTensor& tensor, TensorErrors* errors) {
    progress_.tensor = tensor.name;
    return encoder_.write(tensor, written_.files[tensor.file], errors);
  }

  bool advance(uint64_t bytes) {
    progress_.bytes_done += bytes;
    return !options_.progress || options_.progress(progress_);
  }

  const QuantizeOptions& options_;
  WrittenFiles& written_;
  QuantizeProgress progress_;
  Encoder encoder_;
};

}  // namespace

QuantizeResult quantize(const std::string& input, const std::string& output,
                        const QuantizeOptions& options, uint64_t max_shard_bytes) {
  check_options(output, options);
  const TypeChooser types(options);
  const Checkpoint checkpoint = Checkpoint::open(input);
  const bool is_gguf = options.format == OutputFormat::kGguf;
  Destination destination(is_gguf ? Destination::Kind::kFile : Destination::Kind::kDirectory,
                          output, input, options.overwrite);
  const Conversion conversion = {checkpoint, checkpoint.impl(), types};
  QuantizeResult result;
  const std::string name = std::filesystem::path(output).stem().string();
  WrittenFiles written =
      is_gguf ? prepare_gguf(conversion, destination.path(), name, result.notes)
              : prepare_mlx(conversion, destination.path(), max_shard_bytes, result.notes);
  Run run(options, written);
  if (!run.write_generated()) return {};
  // Before the long work: does the header describe the same model?
  check_same_model(checkpoint.config(), Checkpoint::open(destination.path()).config(),
                   is_gguf ? "GGUF metadata" : "config.json");
  if (!run.write_all(result)) return {};
  for (FileWriter& file : written.files) file.close();
  destination.commit();
  result.completed = true;
  return result;
}

}  // namespace mlxn::convert

namespace mlxn {

QuantizeResult quantize(const std::string& input, const std::string& output,
                        const QuantizeOptions& options) try {
  return convert::quantize(input, output, options, convert::kMaxShardBytes);
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
