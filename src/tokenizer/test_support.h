// SPDX-License-Identifier: Apache-2.0
// What the tests of this room share.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "mlxn/error.h"
#include "mlxn/tokenizer.h"

namespace mlxn::tokenizer {

using TestJson = nlohmann::ordered_json;

inline std::string read_fixture(const std::string& name) {
  return base::read_text_file(std::string(MLXN_SOURCE_DIR) + "/src/tokenizer/testdata/" + name,
                              size_t{1} << 24);
}

inline TestJson read_json_fixture(const std::string& name) {
  return TestJson::parse(read_fixture(name));
}

// Cases of testdata/make_template_fixtures.py, each with its own template.
inline TestJson read_template_cases() {
  TestJson cases = read_json_fixture("template_cases.json");
  for (TestJson& entry : cases) {
    if (entry[1].is_number()) entry[1] = TestJson(cases[entry[1].get<size_t>()][1]);
  }
  return cases;
}

// Streams in two parts, flushing only at the end, and wants the batch result.
inline void expect_stream_equals_batch(const Tokenizer& tokenizer,
                                       const std::vector<int32_t>& ids) {
  const std::string batch = tokenizer.decode(ids);
  StreamDecoder decoder(tokenizer);
  std::string text;
  for (const int32_t id : ids) {
    const std::string part = decoder.push(id);
    text += part;
    // Every part is made of whole characters.
    ASSERT_TRUE(part.empty() || (part[0] & 0xc0) != 0x80) << "a part begins inside a character";
  }
  text += decoder.flush();
  ASSERT_EQ(text, batch);
}

template <typename Call>
void expect_error(ErrorKind kind, std::string_view part, const Call& call) {
  try {
    call();
    ADD_FAILURE() << "no error, expected one with: " << part;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_NE(std::string_view(error.what()).find(part), std::string_view::npos) << error.what();
  }
}

}  // namespace mlxn::tokenizer
