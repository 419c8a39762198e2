// SPDX-License-Identifier: Apache-2.0
// Every type of cache from the command line: that it runs, and what it costs.
#include <map>

#include "command.h"

namespace mlxn::testing {
namespace {

// 128 times the bytes of a cache, over those of f16. The demo model's heads have 256 elements, or
// 512 with two norms, so that codes of b bits come to (8 b + 1) / 128 of f16 in every layer.
const std::map<std::string, uint64_t> kShares = {{"f32", 256}, {"f16", 128}, {"bf16", 128},
                                                 {"tq2", 17},  {"tq3", 25},  {"tq4", 33},
                                                 {"tq5", 41},  {"tq6", 49},  {"tq8", 65}};

double first_logprob(const json& found) { return found["tokens"][0]["logprob"]; }

TEST(KvTypes, GenerateRunsOnEach) {
  const auto run = [](const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {"-p", "Tell me a story.", "-n",         "4",
                                          "-q", "--ignore-eos",     "--logprobs", "1"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const json found = generate_json(arguments);
    EXPECT_EQ(found["tokens"].size(), 4u) << flags.back();
    EXPECT_FALSE(found["text"].get<std::string>().empty()) << flags.back();
    return found;
  };
  const json floats = run({});
  for (const auto& [type, share] : kShares) {
    const json found = run({"--kv-type", type});
    if (type == "f16") {
      EXPECT_EQ(found["tokens"], floats["tokens"]);  // the default
    } else {
      EXPECT_NE(first_logprob(found), first_logprob(floats)) << type;
    }
  }
  const json mixed = run({"--kv-type-k", "tq8", "--kv-type-v", "tq4"});
  for (const char* type : {"tq8", "tq4"}) {
    EXPECT_NE(first_logprob(mixed), first_logprob(run({"--kv-type", type}))) << type;
  }
  EXPECT_NE(first_logprob(run({"--kv-type", "tq2", "--kv-norm-correction"})),
            first_logprob(run({"--kv-type", "tq2"})));
}

TEST(KvTypes, FitReportsTheBytesOfTheFormat) {
  const auto fit = [](const std::vector<std::string>& flags) {
    std::vector<std::string> arguments = {"info", "-m", kModel, "--fit", "--json"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const ProcessResult result = mlxn(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return json::parse(result.out)["fit"];
  };
  const json floats = fit({"--kv-type", "f16"});
  ASSERT_GE(floats.size(), 3u);
  const auto expect_share = [&](const std::vector<std::string>& flags, uint64_t share) {
    const json found = fit(flags);
    ASSERT_EQ(found.size(), floats.size());
    for (size_t i = 0; i < found.size(); ++i) {
      const uint64_t bytes = found[i]["caches"], whole = floats[i]["caches"];
      EXPECT_EQ(found[i]["context"], floats[i]["context"]);
      EXPECT_EQ(128 * bytes, share * whole) << flags.back() << " " << found[i]["context"];
      EXPECT_EQ(found[i]["total"].get<uint64_t>() - bytes,
                floats[i]["total"].get<uint64_t>() - whole);
    }
  };
  for (const auto& [type, share] : kShares) expect_share({"--kv-type", type}, share);
  expect_share({"--kv-type-k", "tq8", "--kv-type-v", "tq4"}, (65 + 33) / 2);
}

}  // namespace
}  // namespace mlxn::testing
