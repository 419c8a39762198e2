// SPDX-License-Identifier: Apache-2.0
// Tokenizers and generation.
#include <nanobind/stl/map.h>

#include <memory>

#include "binding.h"

namespace mlxn::python {
namespace {

// Bytes, or text as UTF-8.
std::string bytes_of(nb::handle text) {
  if (nb::isinstance<nb::bytes>(text)) {
    const auto bytes = nb::cast<nb::bytes>(text);
    return {bytes.c_str(), bytes.size()};
  }
  return nb::cast<std::string>(text);
}

std::string apply_template(const Tokenizer& tokenizer, const nb::list& messages,
                           bool add_generation_prompt, std::map<std::string, std::string> variables,
                           std::optional<int64_t> now) {
  std::vector<ChatMessage> all;
  for (const nb::handle message : messages) {
    all.push_back(
        {nb::cast<std::string>(message["role"]), nb::cast<std::string>(message["content"])});
  }
  const nb::gil_scoped_release no_gil;
  return tokenizer.apply_chat_template(all, {.add_generation_prompt = add_generation_prompt,
                                             .variables = std::move(variables),
                                             .now = now});
}

// One generator per model object: caches are the model's, and so is the turn.
struct Session {
  Session(std::shared_ptr<SharedModel> m, Tokenizer tokenizer)
      : model(std::move(m)), generator(model->value, std::move(tokenizer)) {}
  std::shared_ptr<SharedModel> model;
  Generator generator;
};

nb::list pairs_of(const std::vector<TokenLogprob>& logprobs) {
  nb::list pairs;
  for (const TokenLogprob& p : logprobs) pairs.append(nb::make_tuple(p.id, p.logprob));
  return pairs;
}

// on_token(sequence, id, text, logprob, [(id, logprob)]) -> whether to go on. An exception of
// Python's ends the run and comes out of it.
nb::list run(Session& session, std::vector<std::vector<int32_t>> prompts, GenerateOptions options,
             nb::object on_token, nb::object progress) {
  std::exception_ptr failure;
  bool stopped = false;
  const auto guarded = [&failure](auto&& call) {
    const nb::gil_scoped_acquire gil;
    try {
      if (!failure) call();
      if (!failure && PyErr_CheckSignals() != 0) throw nb::python_error();
    } catch (...) {
      failure = std::current_exception();
    }
  };
  options.cancelled = [&] {
    guarded([] {});
    return stopped || failure;
  };
  if (!progress.is_none()) {
    options.prompt_progress = [&](int64_t done, int64_t total) {
      guarded([&] { progress(done, total); });
    };
  }
  const auto event = [&](const TokenEvent& e) {
    if (on_token.is_none()) return;
    guarded([&] {
      stopped = stopped || !nb::cast<bool>(on_token(e.sequence, e.id, e.text, e.logprob,
                                                    pairs_of(e.top_logprobs)));
    });
  };
  std::vector<GenerateResult> results =
      session.model->use([&](Model&) { return session.generator.run(prompts, options, event); });
  if (failure) std::rethrow_exception(failure);
  nb::list list;
  for (const GenerateResult& r : results) {
    list.append(nb::make_tuple(r.text, r.tokens, r.logprobs, std::string(name(r.finish))));
  }
  return list;
}

nb::dict stats_of(Session& session) {
  const GenerateStats s = session.model->use([&](Model&) { return session.generator.stats(); });
  nb::dict d;
  d["prompt_tokens"] = s.prompt_tokens;
  d["cached_tokens"] = s.cached_tokens;
  d["generation_tokens"] = s.generated_tokens;
  d["prompt_tps"] = s.prompt_rate();
  d["generation_tps"] = s.generation_rate();
  return d;
}

}  // namespace

void bind_text(nb::module_& m) {
  nb::class_<Tokenizer>(m, "RawTokenizer")
      .def_static("from_directory", &Tokenizer::from_directory, "path"_a)
      .def_static(
          "from_json",
          [](nb::handle json, nb::handle config, nb::handle chat_template) {
            return Tokenizer::from_json(bytes_of(json), bytes_of(config), bytes_of(chat_template));
          },
          "tokenizer_json"_a, "tokenizer_config_json"_a = "", "chat_template"_a = "")
      .def_static("from_checkpoint", &load_tokenizer, "checkpoint"_a)
      .def("encode",
           [](const Tokenizer& t, nb::handle text, bool add_special, bool parse_special) {
             const std::string bytes = bytes_of(text);
             const nb::gil_scoped_release no_gil;
             return t.encode(bytes, {.add_special = add_special, .parse_special = parse_special});
           })
      .def("decode",
           [](const Tokenizer& t, const std::vector<int32_t>& ids, bool skip_special) {
             const nb::gil_scoped_release no_gil;
             return t.decode(ids, skip_special);
           })
      .def(
          "piece",
          [](const Tokenizer& t, int32_t id) {
            const std::string_view piece = t.piece(id);
            return nb::bytes(piece.data(), piece.size());
          },
          "id"_a, "The bytes that a token adds to decoded text.")
      .def(
          "token", [](const Tokenizer& t, int32_t id) { return text_of(t.token(id)); }, "id"_a)
      .def("token_id", &Tokenizer::token_id, "token"_a)
      .def("is_special", &Tokenizer::is_special, "id"_a)
      .def_prop_ro("vocab_size", &Tokenizer::vocab_size, "Largest id + 1.")
      .def_prop_ro("bos_token_id", &Tokenizer::bos_id)
      .def_prop_ro("eos_token_id", &Tokenizer::eos_id)
      .def_prop_ro("stop_ids", &Tokenizer::stop_ids)
      .def_prop_ro("adds_bos", &Tokenizer::adds_bos)
      .def_prop_ro("has_chat_template", &Tokenizer::has_chat_template)
      .def("apply_template", &apply_template, "messages"_a, "add_generation_prompt"_a,
           "variables"_a, "now"_a.none());
  nb::class_<GenerateOptions>(m, "GenerateOptions")
      .def(nb::init<>())
      .def_rw("max_tokens", &GenerateOptions::max_tokens)
      .def_rw("sampling", &GenerateOptions::sampling)
      .def_rw("stop", &GenerateOptions::stop)
      .def_rw("stop_ids", &GenerateOptions::stop_ids)
      .def_rw("ignore_eos", &GenerateOptions::ignore_eos)
      .def_rw("logprobs", &GenerateOptions::logprobs)
      .def_rw("skip_special", &GenerateOptions::skip_special)
      .def_rw("reuse_cache", &GenerateOptions::reuse_cache);
  nb::class_<Session>(m, "Session")
      .def(nb::init<std::shared_ptr<SharedModel>, Tokenizer>(), "model"_a, "tokenizer"_a)
      .def("run", &run, "prompts"_a, "options"_a, "on_token"_a.none(), "progress"_a.none())
      .def_prop_ro("stats", &stats_of);
}

}  // namespace mlxn::python
