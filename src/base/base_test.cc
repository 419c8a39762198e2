// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <thread>
#include <vector>

#include "base/checked.h"
#include "base/decimal.h"
#include "base/mapped_file.h"
#include "base/system_memory.h"
#include "base/thread_pool.h"
#include "mlxn/dtype.h"
#include "mlxn/error.h"

namespace mlxn {
namespace {

TEST(Float16, WidensEveryValueAndNarrowsItBack) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const F16 half{static_cast<uint16_t>(bits)};
    const float wide = to_float(half);
    if ((bits & 0x7fffu) > 0x7c00u) {
      EXPECT_TRUE(std::isnan(wide));
      EXPECT_TRUE(std::isnan(to_float(to_f16(wide))));
      continue;
    }
    const int exponent = static_cast<int>((bits >> 10) & 31u);
    const double mantissa = bits & 0x3ffu;
    double expected =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024.0 + mantissa, exponent - 25);
    if (exponent == 31) expected = std::numeric_limits<double>::infinity();
    EXPECT_EQ(static_cast<double>(wide), bits & 0x8000u ? -expected : expected);
    EXPECT_EQ(to_f16(wide).bits, bits);
  }
}

// Every f32 between two neighbours must go to the nearer one, ties to the even code.
TEST(Float16, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7c00u; ++bits) {
    const float low = to_float(F16{static_cast<uint16_t>(bits)});
    const double high =
        bits + 1 == 0x7c00u ? 65536.0 : to_float(F16{static_cast<uint16_t>(bits + 1)});
    const float middle = static_cast<float>((low + high) / 2);
    const uint32_t even = bits + (bits & 1u);
    EXPECT_EQ(to_f16(middle).bits, even) << bits;
    EXPECT_EQ(to_f16(std::nextafter(middle, 0.0f)).bits, bits);
    EXPECT_EQ(to_f16(std::nextafter(middle, 1e9f)).bits, bits + 1);
    EXPECT_EQ(to_f16(-middle).bits, even | 0x8000u);
  }
  EXPECT_EQ(to_f16(70000.0f).bits, 0x7c00u);
  EXPECT_EQ(to_f16(1e-30f).bits, 0u);
}

TEST(BFloat16, RoundsToNearestEven) {
  EXPECT_EQ(to_bf16(1.0f).bits, 0x3f80u);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808000u)).bits, 0x3f80u);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f818000u)).bits, 0x3f82u);
  EXPECT_EQ(to_bf16(std::bit_cast<float>(0x3f808001u)).bits, 0x3f81u);
  EXPECT_EQ(to_bf16(-std::numeric_limits<float>::infinity()).bits, 0xff80u);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, 0x7f80u);
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::bit_cast<float>(0x7f800001u)))));
}

TEST(Checked, ReportsOverflow) {
  EXPECT_EQ(base::checked_mul(int64_t{1} << 40, int64_t{1} << 22), int64_t{1} << 62);
  EXPECT_FALSE(base::checked_mul(int64_t{1} << 40, int64_t{1} << 23));
  EXPECT_FALSE(base::checked_add(std::numeric_limits<int64_t>::max(), int64_t{1}));
  EXPECT_FALSE(base::checked_mul(uint64_t{1} << 63, uint64_t{2}));
  const int64_t huge[] = {int64_t{1} << 31, int64_t{1} << 31, 4};
  EXPECT_FALSE(base::checked_product(huge));
  const int64_t negative[] = {2, -1};
  EXPECT_FALSE(base::checked_product(negative));
  EXPECT_EQ(base::checked_product({}), 1);
}

TEST(ErrorText, HoldsEveryField) {
  const Error error(ErrorKind::kInvalidArgument, ErrorDetail{"op", "x", "3", "4"});
  EXPECT_STREQ(error.what(), "op: x: found 3, required 4");
  EXPECT_EQ(error.detail().parameter, "x");
  EXPECT_FALSE(error.is_transient());
  EXPECT_TRUE(Error(ErrorKind::kCommandBuffer, "lost").is_transient());
}

TEST(ErrorText, IsOneLineOfTextWhateverTheFieldsHold) {
  const Error error(ErrorKind::kGguf,
                    ErrorDetail{"f.gguf", "a\nb\x1b[2J",
                                "\x7f\xc2\x9b\xff caf\xc3\xa9 \xf0\x9f\xa6\x8a", "\xe3\x81"});
  EXPECT_STREQ(error.what(),
               "f.gguf: a\\x0ab\\x1b[2J: found \\x7f\\xc2\\x9b\\xff caf\xc3\xa9 \xf0\x9f\xa6\x8a, "
               "required \\xe3\\x81");
  EXPECT_EQ(error.detail().parameter, "a\nb\x1b[2J");
  // Overlong forms, surrogates and numbers beyond Unicode are no characters.
  EXPECT_STREQ(Error(ErrorKind::kIo, "\xc0\x8a\xed\xa0\x80\xf4\x90\x80\x80").what(),
               "\\xc0\\x8a\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80");
  const Error long_one(ErrorKind::kIo, ErrorDetail{"f", std::string(5000, 'x'), "", "y"});
  EXPECT_EQ(std::string(long_one.what()), "f: " + std::string(1000, 'x') + "...: required y");
}

TEST(Decimal, WholeTextsThatANumberFits) {
  EXPECT_EQ(base::parse_decimal("12.5"), 12.5);
  EXPECT_EQ(base::parse_decimal("-1e-3"), -1e-3);
  EXPECT_EQ(base::parse_decimal("inf"), std::numeric_limits<double>::infinity());
  for (const char* text : {"", " 1", "1 ", "+1", "0x10", "1e999", "1.5x", "-", "."}) {
    EXPECT_FALSE(base::parse_decimal(text).has_value()) << text;
  }
}

TEST(SystemMemory, IsKnownHere) {
  const base::SystemMemory memory = base::system_memory();
  EXPECT_GT(memory.available, 0u);
  EXPECT_LT(memory.available, memory.total);
}

TEST(MappedFile, ReadsAndReportsFailures) {
  const std::string path = ::testing::TempDir() + "mlxn_mapped_file_test";
  std::ofstream(path) << "hello";
  EXPECT_EQ(base::read_text_file(path, 100), "hello");
  EXPECT_THROW(base::read_text_file(path, 4), Error);
  std::ofstream(path, std::ios::trunc) << "";
  EXPECT_EQ(base::MappedFile::open(path)->bytes().size(), 0u);
  std::remove(path.c_str());
  EXPECT_THROW(base::MappedFile::open(path), Error);
  EXPECT_THROW(base::MappedFile::open(::testing::TempDir()), Error);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_THROW(base::MappedFile::open(path), Error) << "must not wait for a writer";
  std::remove(path.c_str());
}

TEST(ThreadPool, SharesWorkAndJoinsEveryoneWhoBegan) {
  constexpr int kTasks = 500;
  for (int threads : {1, 2, 3, 8}) {
    base::ThreadPool pool(threads);
    for (int round = 0; round < 200; ++round) {
      std::atomic<int> next{0}, done{0}, inside{0};
      std::vector<int> owner(kTasks, -1);
      pool.run([&](int worker) {
        ++inside;
        for (int task = next++; task < kTasks; task = next++) {
          owner[static_cast<size_t>(task)] = worker;
          ++done;
        }
        --inside;
      });
      ASSERT_EQ(done.load(), kTasks);
      ASSERT_EQ(inside.load(), 0);
      for (int worker : owner) ASSERT_TRUE(worker >= 0 && worker < threads);
    }
  }
}

// The sanitizers need more address space than this test leaves.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(ThreadPool, ThreadsThatCannotStartAreAnError) {
  // Address space for a few threads' stacks only.
  ASSERT_EXIT(
      {
        rlimit limit{};
        ::getrlimit(RLIMIT_AS, &limit);
        limit.rlim_cur = rlim_t{256} << 20;
        ::setrlimit(RLIMIT_AS, &limit);
        try {
          const base::ThreadPool pool(1000);
        } catch (const Error& error) {
          std::_Exit(error.kind() == ErrorKind::kBufferAllocation ? 0 : 2);
        }
        std::_Exit(3);
      },
      ::testing::ExitedWithCode(0), "");
}
#endif

TEST(ThreadPool, WorkersReallyRunSideBySide) {
  base::ThreadPool pool(2);
  std::atomic<int> met{0};
  // Each side waits for the other: this ends only if both are inside at once.
  for (int attempt = 0; attempt < 1000 && met.load() < 2; ++attempt) {
    met = 0;
    pool.run([&](int) {
      ++met;
      for (int i = 0; i < 100 && met.load() < 2; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    });
  }
  EXPECT_EQ(met.load(), 2);
}

}  // namespace
}  // namespace mlxn
