// SPDX-License-Identifier: Apache-2.0
#include "mlxn/kv_report.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include "base/no_memory.h"
#include "mlxn/generator.h"
#include "runtime/scoring.h"

namespace mlxn {
namespace {

// A decode step costs about as much as a prefill of this many tokens; for the progress bar only.
constexpr double kStepWork = 8.0;

[[noreturn]] void reject(const char* parameter, int64_t found, const std::string& required) {
  throw Error(ErrorKind::kInvalidArgument,
              ErrorDetail{"kv_report", parameter, std::to_string(found), required});
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void check(const Model& model, std::span<const int32_t> tokens, const KvReportOptions& options) {
  const ModelConfig& config = model.config();
  if (options.types.empty()) reject("types", 0, "at least one");
  // Far more than a model has positions; their sums fit.
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const auto check_range = [](const char* parameter, int64_t found, int64_t least) {
    if (found >= least && found <= kMost) return;
    reject(parameter, found, std::to_string(least) + " to " + std::to_string(kMost));
  };
  check_range("depth", options.depth, 0);
  check_range("steps", options.steps, 1);
  check_range("max_reply", options.max_reply, 1);
  const int64_t limit = config.max_position_embeddings;
  const std::string most = "at most " + std::to_string(limit) + ", what the model was trained for";
  if (options.context > limit) reject("context", options.context, most);
  const int64_t longest = options.longest_cache();
  if (longest > limit) reject("recall, depth: tokens", longest, most);
  runtime::check_tokens("kv_report", tokens, config.vocab_size);
  for (const RecallItem& item : options.recall) {
    if (item.prompt.empty()) reject("recall: prompt", 0, "at least one token");
    runtime::check_tokens("kv_report", item.prompt, config.vocab_size);
  }
}

// Work that is done, in tokens of prefill, and the caller's wish to go on.
class Progress {
 public:
  Progress(const KvReportOptions& options, int64_t windows, size_t subjects)
      : report_(options.progress) {
    const auto rows = static_cast<double>(options.types.size());
    total_ = static_cast<double>(windows * options.context) * static_cast<double>(subjects);
    for (const RecallItem& item : options.recall) {
      total_ += rows * static_cast<double>(item.prompt.size());
    }
    if (options.depth > 0) total_ += rows * speed_work(options);
  }

  static double speed_work(const KvReportOptions& options) {
    return static_cast<double>(options.depth) + kStepWork * static_cast<double>(options.steps);
  }

  void add(double work) {
    done_ += work;
    ask();
  }
  void ask() {
    if (report_ && !report_(std::min(1.0, done_ / total_))) stopped_ = true;
  }
  bool stopped() const { return stopped_; }

 private:
  const std::function<bool(double)>& report_;
  double total_ = 0.0;
  double done_ = 0.0;
  bool stopped_ = false;
};

// One type of cache over the text.
struct Subject {
  KvTypes types;
  Model model;
  std::vector<double> nll;
  double logit_change = 0.0;
  double sum_of_changes = 0.0;
  double logits_compared = 0.0;

  void compare(std::span<const float> logits, std::span<const float> baseline) {
    for (size_t i = 0; i < logits.size(); ++i) {
      const double change =
          std::abs(static_cast<double>(logits[i]) - static_cast<double>(baseline[i]));
      if (!(change <= logit_change)) logit_change = change;  // a NaN stays
      sum_of_changes += change;
    }
    logits_compared += static_cast<double>(logits.size());
  }
};

ModelOptions options_of(const KvReportOptions& options, const KvTypes& types, int64_t context) {
  return {.max_context = context,
          .kv_type = types.k,
          .kv_type_v = types.v,
          .kv_norm_correction = options.norm_correction && types.k.is_coded()};
}

// The baseline comes first; a type is scored once however often it was asked for.
std::vector<Subject> make_subjects(const Model& model, const KvReportOptions& options) {
  std::vector<Subject> subjects;
  const auto add = [&](const KvTypes& types) {
    for (const Subject& subject : subjects) {
      if (subject.types == types) return;
    }
    subjects.push_back(
        {types, model.sharing_weights(options_of(options, types, options.context)), {}});
  };
  add(options.baseline);
  for (const KvTypes& types : options.types) add(types);
  return subjects;
}

// Rows of logits of a piece that are scored.
void score_rows(Subject& subject, std::span<const float> logits, std::span<const float> baseline,
                std::span<const int32_t> window, const runtime::Piece& piece) {
  const auto vocab = static_cast<size_t>(subject.model.config().vocab_size);
  for (int64_t row = piece.scored; row < piece.end; ++row) {
    const size_t first = static_cast<size_t>(row - piece.begin) * vocab;
    const auto own = logits.subspan(first, vocab);
    subject.nll.push_back(
        runtime::negative_log_likelihood(own, window[static_cast<size_t>(row) + 1]));
    subject.compare(own, baseline.subspan(first, vocab));
  }
}

// False if it was stopped half way.
bool score_window(std::vector<Subject>& subjects, std::span<const int32_t> window,
                  const std::vector<runtime::Piece>& pieces, Progress& progress) {
  for (Subject& subject : subjects) subject.model.reset();
  for (const runtime::Piece& piece : pieces) {
    if (progress.stopped()) return false;
    const auto tokens = window.subspan(static_cast<size_t>(piece.begin),
                                       static_cast<size_t>(piece.end - piece.begin));
    std::vector<float> baseline;
    for (Subject& subject : subjects) {
      const bool scored = piece.scored < piece.end;
      std::vector<float> logits = subject.model.prefill(0, tokens, scored);
      progress.add(static_cast<double>(tokens.size()));
      if (!scored) continue;
      if (baseline.empty()) baseline = logits;
      score_rows(subject, logits, baseline, window, piece);
    }
  }
  return true;
}

// Windows that all subjects have taken. Of one that was stopped half way nothing is kept but its
// changes of logits.
int64_t score_text(std::vector<Subject>& subjects, std::span<const int32_t> tokens,
                   const PerplexityOptions& options, int64_t windows, Progress& progress) {
  const std::vector<runtime::Piece> pieces = runtime::pieces_of(options);
  int64_t done = 0;
  std::vector<size_t> kept(subjects.size(), 0);
  while (done < windows &&
         score_window(subjects, runtime::window_of(tokens, options, done), pieces, progress)) {
    ++done;
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = subjects[i].nll.size();
  }
  for (size_t i = 0; i < kept.size(); ++i) subjects[i].nll.resize(kept[i]);
  return done;
}

void compare(KvReportRow& row, const Subject& subject, const Subject& baseline, int64_t windows) {
  if (windows == 0) return;
  std::vector<double> differences(subject.nll.size());
  for (size_t i = 0; i < differences.size(); ++i) {
    differences[i] = subject.nll[i] - baseline.nll[i];
  }
  const runtime::MeanAndError difference = runtime::mean_of(differences);
  row.perplexity = runtime::summarize(subject.nll, windows);
  row.change = std::expm1(difference.mean);
  row.change_error = std::exp(difference.mean) * difference.error;
  row.logit_change = subject.logit_change;
  row.mean_logit_change = subject.sum_of_changes / subject.logits_compared;
}

std::string digits_of(const std::string& text) {
  std::string digits;
  for (char c : text) {
    if (c >= '0' && c <= '9') digits += c;
  }
  return digits;
}

void measure_recall(KvReportRow& row, Generator& generator, const KvReportOptions& options,
                    Progress& progress) {
  for (const RecallItem& item : options.recall) {
    if (progress.stopped()) return;
    const auto result = generator.run({item.prompt}, {.max_tokens = options.max_reply,
                                                      .sampling = {.temperature = 0.0f},
                                                      .logprobs = -1,
                                                      .cancelled = [&] {
                                                        progress.ask();
                                                        return progress.stopped();
                                                      }});
    if (result[0].finish == FinishReason::kCancelled) return;
    ++row.recall_items;
    row.recall_right +=
        result[0].finish == FinishReason::kEos && digits_of(result[0].text) == item.digits;
    progress.add(static_cast<double>(item.prompt.size()));
  }
}

// `depth` tokens of the text, from its start over and over.
std::vector<int32_t> filling(std::span<const int32_t> tokens, int64_t depth) {
  std::vector<int32_t> ids(static_cast<size_t>(depth));
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = tokens[i % tokens.size()];
  return ids;
}

void measure_speed(KvReportRow& row, Model& model, std::span<const int32_t> tokens,
                   const KvReportOptions& options, Progress& progress) {
  if (options.depth == 0 || progress.stopped()) return;
  const std::vector<int32_t> ids = filling(tokens, options.depth);
  model.reset();
  const auto start = std::chrono::steady_clock::now();
  model.prefill(0, ids);
  row.prompt_rate = static_cast<double>(options.depth) / seconds_since(start);
  model.decode({ids.data(), 1});  // captures the step
  std::vector<double> seconds;
  for (int64_t i = 0; i < options.steps; ++i) {
    const auto step = std::chrono::steady_clock::now();
    model.decode({ids.data() + i % options.depth, 1});
    seconds.push_back(seconds_since(step));
  }
  const auto middle = seconds.begin() + options.steps / 2;
  std::nth_element(seconds.begin(), middle, seconds.end());
  row.generation_rate = 1.0 / *middle;
  progress.add(Progress::speed_work(options));
}

KvReportRow row_of(const Model& model, const KvTypes& types) {
  KvReportRow row;
  row.types = types;
  row.bytes_per_token = kv_bytes_per_token(model.config(), types);
  row.cache_bytes =
      estimate_memory(model.config(), {.max_context = model.config().max_position_embeddings,
                                       .kv_type = types.k,
                                       .kv_type_v = types.v})
          .caches;
  return row;
}

}  // namespace

int64_t KvReportOptions::longest_cache() const {
  size_t prompt = 0;
  for (const RecallItem& item : recall) prompt = std::max(prompt, item.prompt.size());
  const int64_t of_recall = prompt == 0 ? 0 : static_cast<int64_t>(prompt) + max_reply;
  return std::max(of_recall, depth == 0 ? 0 : depth + steps + 1);
}

int64_t kv_bytes_per_token(const ModelConfig& config, const KvTypes& types) try {
  // That many slots are in every cache, rings and units of codes included.
  constexpr int64_t kSlots = 16;
  ModelConfig longer = config;
  longer.max_position_embeddings = std::max(longer.max_position_embeddings, kSlots);
  const ModelMemory memory =
      estimate_memory(longer, {.max_context = kSlots, .kv_type = types.k, .kv_type_v = types.v});
  return static_cast<int64_t>(memory.caches) / kSlots;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

std::vector<KvReportRow> kv_report(const Model& model, const Tokenizer& tokenizer,
                                   std::span<const int32_t> tokens,
                                   const KvReportOptions& options) try {
  const PerplexityOptions of_text{.context = options.context, .bos = options.bos};
  const int64_t windows = perplexity_windows(static_cast<int64_t>(tokens.size()), of_text);
  check(model, tokens, options);
  std::vector<Subject> subjects = make_subjects(model, options);
  Progress progress(options, windows, subjects.size());
  const int64_t done = score_text(subjects, tokens, of_text, windows, progress);
  std::vector<KvReportRow> rows;
  for (const KvTypes& types : options.types) {
    rows.push_back(row_of(model, types));
    for (const Subject& subject : subjects) {
      if (subject.types == types) compare(rows.back(), subject, subjects[0], done);
    }
  }
  subjects.clear();  // their caches make room for longer ones
  const int64_t longest = options.longest_cache();
  for (KvReportRow& row : rows) {
    if (longest == 0 || progress.stopped()) break;
    Model own = model.sharing_weights(options_of(options, row.types, longest));
    measure_speed(row, own, tokens, options, progress);
    Generator generator(own, tokenizer);
    measure_recall(row, generator, options, progress);
  }
  return rows;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
