// SPDX-License-Identifier: Apache-2.0
#include "convert/encode.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

#include "base/checked.h"
#include "base/mapped_file.h"
#include "checkpoint/fail.h"
#include "mlxn/error.h"
#include "quant/mlx_fp.h"
#include "quant/registry.h"

namespace mlxn::convert {
namespace {

// Elements that a thread works on at once: 1 MiB of floats.
constexpr int64_t kPieceElements = int64_t{1} << 18;

struct Sums {
  double squared_errors = 0.0;
  double squares = 0.0;
  double max_error = 0.0;
};

// Room for the rows of one piece, per thread.
struct Scratch {
  std::vector<float> values;   // one row
  std::vector<float> decoded;  // one row
  std::vector<std::byte> data, scales, biases;
};

class TensorJob {
 public:
  TensorJob(const PlannedTensor& tensor, FileWriter& file, bool measure)
      : tensor_(tensor),
        file_(file),
        measure_(measure),
        cols_(tensor.cols()),
        rows_(tensor.rows()),
        row_bytes_(tensor.row_bytes()),
        row_scale_bytes_(tensor.row_groups() *
                         static_cast<int64_t>(size_of(tensor.encoding.scale_dtype))),
        rows_per_piece_(std::max<int64_t>(1, kPieceElements / std::max<int64_t>(1, cols_))),
        sums_(static_cast<size_t>(pieces())) {
    const checkpoint::StoredTensor* stored = tensor.source.stored;
    if (stored == nullptr) return;
    source_ = stored_format(*stored);
    source_row_bytes_ = quant::row_bytes(source_->format, 0, cols_);
    is_copy_ = source_->format == tensor.encoding.format && tensor.source.offset == 0.0f;
  }

  int64_t pieces() const { return cols_ == 0 ? 0 : base::ceil_div(rows_, rows_per_piece_); }

  // Bytes of the source that the piece reads.
  uint64_t write_piece(int64_t piece, Scratch& scratch) {
    const int64_t begin = piece * rows_per_piece_;
    const int64_t count = std::min(rows_per_piece_, rows_ - begin);
    resize(scratch, count);
    Sums& sums = sums_[static_cast<size_t>(piece)];
    for (int64_t i = 0; i < count; ++i) write_row(begin + i, i, scratch, sums);
    file_.write_at(tensor_.data_at + static_cast<uint64_t>(begin * row_bytes_), scratch.data);
    if (row_scale_bytes_ > 0) {
      const auto at = static_cast<uint64_t>(begin * row_scale_bytes_);
      file_.write_at(tensor_.scales_at + at, scratch.scales);
      if (tensor_.encoding.is_affine()) file_.write_at(tensor_.biases_at + at, scratch.biases);
    }
    return static_cast<uint64_t>(count * source_row_bytes_);
  }

  TensorErrors errors() const {
    Sums total;
    for (const Sums& sums : sums_) {
      total.squared_errors += sums.squared_errors;
      total.squares += sums.squares;
      total.max_error = std::max(total.max_error, sums.max_error);
    }
    const double relative =
        total.squares > 0.0 ? std::sqrt(total.squared_errors / total.squares) : 0.0;
    return {relative, total.max_error};
  }

  // The pages of the source may go: they are not read again.
  void release_source() const {
    if (source_ != nullptr) tensor_.source.stored->file->let_go(tensor_.source.stored->bytes);
  }

 private:
  void resize(Scratch& scratch, int64_t count) const {
    scratch.values.resize(static_cast<size_t>(cols_));
    if (measure_) scratch.decoded.resize(static_cast<size_t>(cols_));
    scratch.data.resize(static_cast<size_t>(count * row_bytes_));
    scratch.scales.resize(static_cast<size_t>(count * row_scale_bytes_));
    scratch.biases.resize(static_cast<size_t>(count * row_scale_bytes_));
  }

  const std::byte* source_row(int64_t row) const {
    return tensor_.source.stored->bytes.data() + tensor_.source.stored_row(row) * source_row_bytes_;
  }

  void load_row(int64_t row, float* values) const {
    if (source_ == nullptr) {
      std::copy_n(tensor_.source.values.begin() + row * cols_, cols_, values);
      return;
    }
    source_->decode_row(source_row(row), cols_, values);
    if (tensor_.source.offset == 0.0f) return;
    for (int64_t i = 0; i < cols_; ++i) values[i] += tensor_.source.offset;
  }

  void write_row(int64_t row, int64_t index, Scratch& scratch, Sums& sums) const {
    std::byte* data = scratch.data.data() + index * row_bytes_;
    if (is_copy_) {
      std::memcpy(data, source_row(row), static_cast<size_t>(row_bytes_));
      return;
    }
    float* values = scratch.values.data();
    load_row(row, values);
    const Encoding& e = tensor_.encoding;
    std::byte* scales = scratch.scales.data() + index * row_scale_bytes_;
    std::byte* biases = scratch.biases.data() + index * row_scale_bytes_;
    if (e.is_affine()) {
      quant::encode_row_affine(values, cols_, e.recipe,
                               {data, scales, biases, e.scale_dtype, e.bits, e.group_size});
    } else if (e.is_mlx()) {
      quant::encode_row_mlx_fp(e.format, values, cols_, data, scales);
    } else {
      quant::traits_of(e.format).encode_row(values, cols_, data);
    }
    if (!measure_) return;
    float* decoded = scratch.decoded.data();
    if (e.is_affine()) {
      quant::decode_row_affine({data, scales, biases, e.scale_dtype, e.bits, e.group_size}, cols_,
                               decoded);
    } else if (e.is_mlx()) {
      quant::decode_row_mlx_fp(e.format, data, scales, cols_, decoded);
    } else {
      quant::traits_of(e.format).decode_row(data, cols_, decoded);
    }
    for (int64_t i = 0; i < cols_; ++i) {
      const double error = std::fabs(static_cast<double>(decoded[i]) - values[i]);
      sums.squared_errors += error * error;
      sums.squares += static_cast<double>(values[i]) * values[i];
      sums.max_error = std::max(sums.max_error, error);
    }
  }

  const PlannedTensor& tensor_;
  FileWriter& file_;
  bool measure_;
  int64_t cols_;
  int64_t rows_;
  int64_t row_bytes_;
  int64_t row_scale_bytes_;
  int64_t rows_per_piece_;
  const quant::FormatTraits* source_ = nullptr;
  int64_t source_row_bytes_ = 0;
  bool is_copy_ = false;
  std::vector<Sums> sums_;  // per piece, so that their order is fixed
};

// Encoders know positions in a row, not tensors.
[[noreturn]] void rethrow_for(const PlannedTensor& tensor, const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInvalidArgument) throw;
    ErrorDetail detail = error.detail();
    detail.where =
        tensor.source.stored == nullptr ? "quantize" : tensor.source.stored->file->path();
    detail.parameter = "tensor " + checkpoint::in_quotes(tensor.source.name) + ", " +
                       detail.parameter + " of a row";
    throw Error(ErrorKind::kInvalidArgument, detail);
  }
}

}  // namespace

Encoder::Encoder(int num_threads, bool measure_errors, std::function<bool(uint64_t)> keep_going)
    : pool_(num_threads > 0 ? num_threads : base::available_cores()),
      measure_errors_(measure_errors),
      keep_going_(std::move(keep_going)) {}

bool Encoder::write(const PlannedTensor& tensor, FileWriter& file, TensorErrors* errors) {
  TensorJob job(tensor, file, measure_errors_);
  std::atomic<int64_t> next{0};
  std::atomic<uint64_t> bytes_read{0};
  std::atomic<bool> stopped{false};
  std::mutex failure_mutex;
  std::exception_ptr failure;
  int64_t failed_piece = 0;
  pool_.run([&](int worker) {
    int64_t piece = 0;
    try {
      Scratch scratch;
      while (!stopped && (piece = next.fetch_add(1)) < job.pieces()) {
        bytes_read += job.write_piece(piece, scratch);
        if (worker == 0 && !keep_going_(bytes_read.exchange(0))) stopped = true;
      }
    } catch (...) {
      const std::lock_guard lock(failure_mutex);
      if (failure == nullptr || piece < failed_piece) {
        failure = std::current_exception();
        failed_piece = piece;
      }
      stopped = true;
    }
  });
  if (failure != nullptr) rethrow_for(tensor, failure);
  if (stopped || !keep_going_(bytes_read.exchange(0))) return false;
  job.release_source();
  if (errors != nullptr) *errors = job.errors();
  return true;
}

}  // namespace mlxn::convert
