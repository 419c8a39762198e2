// SPDX-License-Identifier: Apache-2.0
#include "runtime/stop_matcher.h"

#include <gtest/gtest.h>

namespace mlxn::runtime {
namespace {

TEST(StopMatcherTest, TextWithoutAStopStringComesThroughAtOnce) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("hello "), "hello ");
  EXPECT_EQ(matcher.push("world"), "world");
  EXPECT_EQ(matcher.flush(), "");
  EXPECT_FALSE(matcher.matched());
}

TEST(StopMatcherTest, HoldsBackWhatMayBecomeAStopString) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("the E"), "the ");
  EXPECT_EQ(matcher.push("N"), "");
  EXPECT_EQ(matcher.push("glish"), "ENglish");
  EXPECT_EQ(matcher.push("E"), "");
  EXPECT_EQ(matcher.flush(), "E");
}

TEST(StopMatcherTest, CutsTheStopStringOffAndEverythingAfter) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("abc E"), "abc ");
  EXPECT_EQ(matcher.push("ND def"), "");
  EXPECT_TRUE(matcher.matched());
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopMatcherTest, TheEarliestOfSeveralWins) {
  StopMatcher matcher({"yyy", "xx", ""});
  EXPECT_EQ(matcher.push("a xx yyy"), "a ");
  EXPECT_TRUE(matcher.matched());
}

TEST(StopMatcherTest, RepeatedFirstCharacters) {
  StopMatcher matcher({"aab"});
  EXPECT_EQ(matcher.push("aaa"), "a");
  EXPECT_EQ(matcher.push("b"), "");
  EXPECT_TRUE(matcher.matched());
}

TEST(StopMatcherTest, AnySplitGivesTheSameText) {
  const std::string text = "one stop two STOPPED and sto";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    StopMatcher matcher({"STOP", "stopped"});
    std::string got = matcher.push(text.substr(0, cut));
    got += matcher.push(text.substr(cut));
    EXPECT_EQ(got, "one stop two ") << cut;
    EXPECT_TRUE(matcher.matched());
  }
}

TEST(StopMatcherTest, NoStopStrings) {
  StopMatcher matcher({});
  EXPECT_EQ(matcher.push("abc"), "abc");
  EXPECT_FALSE(matcher.matched());
}

}  // namespace
}  // namespace mlxn::runtime
