// SPDX-License-Identifier: Apache-2.0
#include "mlxn/generator.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <unordered_set>
#include <utility>

#include "base/no_memory.h"
#include "runtime/reply.h"
#include "runtime/sampler.h"

namespace mlxn {
namespace {

using Clock = std::chrono::steady_clock;
using OnToken = std::function<void(const TokenEvent&)>;
using Prompts = std::vector<std::vector<int32_t>>;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

uint64_t next_generator_id() {
  static std::atomic<uint64_t> counter{1};
  return counter.fetch_add(1, std::memory_order_relaxed);
}

double rate(int64_t count, double seconds) {
  return seconds > 0.0 ? static_cast<double>(count) / seconds : 0.0;
}

std::unordered_set<int32_t> stop_ids_of(const ModelConfig& config, const Tokenizer& tokenizer,
                                        const GenerateOptions& options) {
  std::unordered_set<int32_t> ids(options.stop_ids.begin(), options.stop_ids.end());
  if (options.ignore_eos) return ids;
  for (int64_t id : config.eos_token_ids) ids.insert(static_cast<int32_t>(id));
  ids.insert(tokenizer.stop_ids().begin(), tokenizer.stop_ids().end());
  return ids;
}

// One call of run().
class Run {
 public:
  Run(const Model& model, const Tokenizer& tokenizer, const Prompts& prompts,
      const GenerateOptions& options, const OnToken& on_token,
      std::vector<std::vector<int32_t>>& held, GenerateStats& stats)
      : model_(model.impl()),
        prompts_(prompts),
        options_(options),
        on_token_(on_token),
        held_(held),
        stats_(stats),
        stop_ids_(stop_ids_of(model.config(), tokenizer, options)),
        sampler_(model_, options, tokenizer.vocab_size()),
        results_(prompts.size()) {
    for (size_t i = 0; i < prompts.size(); ++i) {
      replies_.emplace_back(tokenizer, options_, stop_ids_);
    }
  }

  std::vector<GenerateResult> run() {
    check();
    const auto batch = static_cast<size_t>(model_.options().batch);
    for (size_t first = 0; first < prompts_.size(); first += batch) {
      first_ = first;
      count_ = std::min(batch, prompts_.size() - first);
      const auto start = Clock::now();
      for (size_t row = 0; row < count_ && !stopped_; ++row) start_sequence(row);
      stats_.prompt_seconds += seconds_since(start);
      const auto decode_start = Clock::now();
      while (!stopped_ && step()) {
      }
      if (stopped_) cancel_all();
      stats_.generation_seconds += seconds_since(decode_start);
    }
    for (size_t i = 0; i < results_.size(); ++i) results_[i].finish = replies_[i].finish();
    return std::move(results_);
  }

 private:
  void check() const;
  bool is_cancelled() {
    return stopped_ = stopped_ || (options_.cancelled && options_.cancelled());
  }
  void start_sequence(size_t row);
  size_t reuse(size_t row, const std::vector<int32_t>& prompt);
  bool step();
  void make_room(size_t row);
  void accept(size_t row, runtime::Draw draw);
  void emit(size_t sequence, TokenEvent event);
  void cancel_all();

  ModelImpl& model_;
  const Prompts& prompts_;
  const GenerateOptions& options_;
  const OnToken& on_token_;
  std::vector<std::vector<int32_t>>& held_;
  GenerateStats& stats_;
  std::unordered_set<int32_t> stop_ids_;
  runtime::Sampler sampler_;
  std::vector<GenerateResult> results_;
  std::vector<runtime::Reply> replies_;

  size_t first_ = 0;  // prompts first_ .. first_ + count_ - 1 are in rows 0 .. count_ - 1
  size_t count_ = 0;
  bool stopped_ = false;
  int64_t prompt_tokens_done_ = 0;
};

void Run::check() const {
  if (options_.max_tokens < 0) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"Generator::run", "max_tokens", std::to_string(options_.max_tokens),
                            "at least 0"});
  }
  const int64_t context = model_.options().max_context;
  for (const auto& prompt : prompts_) {
    if (prompt.empty()) {
      throw Error(ErrorKind::kInvalidArgument,
                  ErrorDetail{"Generator::run", "prompt", "no tokens", "at least one"});
    }
    for (int32_t id : prompt) model_.check_token(id);
    if (static_cast<int64_t>(prompt.size()) > context) {
      throw Error(ErrorKind::kContextFull,
                  ErrorDetail{"Generator::run", "prompt", std::to_string(prompt.size()) + " tokens",
                              "at most " + std::to_string(context)});
    }
  }
}

// Cuts the row's caches to what they share with the prompt and returns how much that is. The last
// token always runs again, for its logits.
size_t Run::reuse(size_t row, const std::vector<int32_t>& prompt) {
  std::vector<int32_t>& held = held_[row];
  const auto sequence = static_cast<int64_t>(row);
  if (static_cast<int64_t>(held.size()) != model_.length(sequence)) held.clear();
  size_t common = 0;
  if (options_.reuse_cache) {
    const auto differ = std::mismatch(held.begin(), held.end(), prompt.begin(), prompt.end());
    common = static_cast<size_t>(differ.first - held.begin());
    common = std::min(common, prompt.size() - 1);
  }
  if (!model_.trim(sequence, static_cast<int64_t>(common))) {
    common = 0;
    model_.trim(sequence, 0);
  }
  held.resize(common);
  return common;
}

void Run::start_sequence(size_t row) {
  const std::vector<int32_t>& prompt = prompts_[first_ + row];
  const size_t common = reuse(row, prompt);
  stats_.cached_tokens += static_cast<int64_t>(common);
  int64_t total = 0;
  for (const auto& p : prompts_) total += static_cast<int64_t>(p.size());
  const int64_t before = prompt_tokens_done_ + static_cast<int64_t>(common);
  PrefillHooks hooks;
  hooks.before_chunk = [&](int64_t done) {
    if (options_.prompt_progress) options_.prompt_progress(before + done, total);
    return !is_cancelled();
  };
  const std::span<const int32_t> fresh = std::span(prompt).subspan(common);
  const bool finished = model_.prefill(static_cast<int64_t>(row), fresh, nullptr, hooks);
  const int64_t length = model_.length(static_cast<int64_t>(row));
  held_[row].assign(prompt.begin(), prompt.begin() + length);
  stats_.prompt_tokens += length;
  if (!finished) return;
  prompt_tokens_done_ += static_cast<int64_t>(prompt.size());
  if (options_.prompt_progress) options_.prompt_progress(prompt_tokens_done_, total);
  if (options_.max_tokens == 0) {
    replies_[first_ + row].end(FinishReason::kLength);
    return;
  }
  sampler_.start(static_cast<int64_t>(row), prompt);
  const auto key = static_cast<uint32_t>(first_ + row);
  sampler_.queue(model_.decoder().scratch().logits(1), static_cast<int64_t>(row), {&key, 1});
  model_.stream().commit().wait();
  ++stats_.first_tokens;
  accept(row, sampler_.take().at(0));
}

void Run::emit(size_t sequence, TokenEvent event) {
  results_[sequence].text += event.text;
  event.sequence = static_cast<int>(sequence);
  if (on_token_) on_token_(event);
}

void Run::accept(size_t row, runtime::Draw draw) {
  const size_t sequence = first_ + row;
  ++stats_.generated_tokens;
  results_[sequence].tokens.push_back(draw.id);
  if (options_.logprobs >= 0) results_[sequence].logprobs.push_back(draw.logprob);
  const bool has_room = model_.length(static_cast<int64_t>(row)) < model_.options().max_context;
  TokenEvent event;
  event.id = draw.id;
  event.text = replies_[sequence].push(draw.id, has_room);
  event.logprob = draw.logprob;
  event.top_logprobs = std::move(draw.top_logprobs);
  emit(sequence, std::move(event));
}

// A finished sequence is computed along with the others and writes one slot past its end. If there
// is none it gives up its last token.
void Run::make_room(size_t row) {
  const auto sequence = static_cast<int64_t>(row);
  const int64_t length = model_.length(sequence);
  if (length < model_.options().max_context) return;
  model_.trim(sequence, length - 1);
  held_[row].resize(static_cast<size_t>(length - 1));
}

// One token for every sequence that is not finished; false if there is none.
bool Run::step() {
  size_t rows = count_;
  while (rows > 0 && replies_[first_ + rows - 1].finished()) --rows;
  if (rows == 0) return false;
  if (is_cancelled()) return false;
  std::vector<bool> frozen(rows);
  std::vector<uint32_t> keys(rows);
  for (size_t row = 0; row < rows; ++row) {
    frozen[row] = replies_[first_ + row].finished();
    keys[row] = static_cast<uint32_t>(first_ + row);
    if (frozen[row]) make_room(row);
  }
  const auto batch = static_cast<int64_t>(rows);
  model_.queue_decode(batch);
  sampler_.queue(model_.decoder().scratch().logits(batch), 0, keys);
  model_.stream().commit().wait();
  model_.advance(batch, frozen);
  std::vector<runtime::Draw> draws = sampler_.take(frozen);
  for (size_t row = 0; row < rows; ++row) {
    if (frozen[row]) continue;
    held_[row].push_back(results_[first_ + row].tokens.back());  // what this step was fed
    accept(row, std::move(draws[row]));
  }
  return true;
}

void Run::cancel_all() {
  for (size_t i = 0; i < replies_.size(); ++i) {
    if (replies_[i].finished()) continue;
    TokenEvent event;
    event.id = -1;
    event.text = replies_[i].end(FinishReason::kCancelled);
    if (!event.text.empty()) emit(i, std::move(event));
  }
}

}  // namespace

std::string_view name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return "eos";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kContextFull:
      return "context_full";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

double GenerateStats::prompt_rate() const {
  return rate(prompt_tokens - cached_tokens, prompt_seconds);
}

double GenerateStats::generation_rate() const {
  return rate(generated_tokens - first_tokens, generation_seconds);
}

struct Generator::Impl {
  Model model;
  Tokenizer tokenizer;
  GenerateStats stats;
  std::vector<std::vector<int32_t>> held;  // tokens in the caches, per row
  uint64_t id;                             // of this generator, for ModelImpl::claim
};

Generator::Generator(Model model, Tokenizer tokenizer) try
    : impl_(new Impl{std::move(model), std::move(tokenizer), {}, {}, next_generator_id()}) {
  impl_->held.resize(static_cast<size_t>(impl_->model.options().batch));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

Generator::~Generator() = default;
Generator::Generator(Generator&&) noexcept = default;
Generator& Generator::operator=(Generator&&) noexcept = default;

std::vector<GenerateResult> Generator::run(
    const std::vector<std::vector<int32_t>>& prompts, const GenerateOptions& options,
    const std::function<void(const TokenEvent&)>& on_token) try {
  impl_->stats = {};
  ops::check_sampling_params(options.sampling);
  ModelImpl& model = impl_->model.impl();
  // Other users of the same model may have put their own tokens in the caches.
  if (!model.claim(impl_->id)) {
    for (auto& held : impl_->held) held.clear();
  }
  try {
    return Run(impl_->model, impl_->tokenizer, prompts, options, on_token, impl_->held,
               impl_->stats)
        .run();
  } catch (...) {
    model.stream().discard();
    throw;
  }
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

const GenerateStats& Generator::stats() const { return impl_->stats; }
const Model& Generator::model() const { return impl_->model; }
const Tokenizer& Generator::tokenizer() const { return impl_->tokenizer; }

std::span<const int32_t> Generator::cached_tokens(int sequence) const {
  return impl_->held.at(static_cast<size_t>(sequence));
}

void Generator::reset() {
  impl_->model.reset();
  for (auto& held : impl_->held) held.clear();
}

}  // namespace mlxn
