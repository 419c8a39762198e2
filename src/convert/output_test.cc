// SPDX-License-Identifier: Apache-2.0
#include "convert/output.h"

#include <sys/resource.h>

#include <csignal>

#include "convert/test_util.h"

namespace mlxn::convert {
namespace {

namespace fs = std::filesystem;
constexpr auto kFile = Destination::Kind::kFile;
constexpr auto kDirectory = Destination::Kind::kDirectory;

TEST(Destination, AppearsAtTheEndOrNotAtAll) {
  const TempDir dir;
  dir.write("in.gguf", "x");
  {
    Destination out(kFile, dir.path("out.gguf"), dir.path("in.gguf"), false);
    write_text_file(out.path(), "half");
    EXPECT_EQ(names_in(dir.path()).size(), 2u);
  }
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"in.gguf"});
  Destination out(kDirectory, dir.path("out/"), dir.path("in.gguf"), false);
  write_text_file(out.path() + "/config.json", "{}");
  EXPECT_FALSE(fs::exists(dir.path("out")));
  out.commit();
  EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"in.gguf", "out"}));
  EXPECT_EQ(read_file(dir.path("out/config.json")), "{}");
}

TEST(Destination, ReplacesOnlyWhatItIsToldTo) {
  const TempDir dir;
  dir.write("in/config.json", "{}");
  dir.write("old/config.json", "{}");
  dir.write("old/stale.safetensors", "x");
  dir.write("home/config.json", "{}");
  dir.write("home/sub/letter.txt", "x");
  dir.write("notes/letter.txt", "x");
  dir.write("old.gguf", "old");
  const auto refused = [&](Destination::Kind kind, const char* target, bool overwrite,
                           const char* part) {
    expect_error([&] { Destination out(kind, dir.path(target), dir.path("in"), overwrite); },
                 ErrorKind::kInvalidArgument, part);
  };
  refused(kDirectory, "old", false, "a name that nothing has");
  refused(kFile, "old.gguf", false, "a name that nothing has");
  refused(kDirectory, "home", true, "nothing but files");
  refused(kDirectory, "notes", true, "nothing but files");
  refused(kDirectory, "old.gguf", true, "nothing but files");
  refused(kFile, "old", true, "a file to replace");
  EXPECT_EQ(names_in(dir.path()).size(), 5u);

  Destination out(kDirectory, dir.path("old"), dir.path("in"), true);
  write_text_file(out.path() + "/config.json", "new");
  EXPECT_EQ(read_file(dir.path("old/config.json")), "{}");
  out.commit();
  EXPECT_EQ(names_in(dir.path("old")), std::vector<std::string>{"config.json"});
  EXPECT_EQ(read_file(dir.path("old/config.json")), "new");
  Destination file(kFile, dir.path("old.gguf"), dir.path("in"), true);
  write_text_file(file.path(), "new");
  file.commit();
  EXPECT_EQ(read_file(dir.path("old.gguf")), "new");
  EXPECT_EQ(names_in(dir.path()).size(), 5u);
}

TEST(Destination, SourceAndDestinationStayApart) {
  const TempDir dir;
  dir.write("in/config.json", "{}");
  dir.write("in/model.gguf", "x");
  fs::create_directory_symlink(dir.path("in"), dir.path("link"));
  const auto refused = [&](Destination::Kind kind, const char* target, const char* source) {
    expect_error([&] { Destination out(kind, dir.path(target), dir.path(source), true); },
                 ErrorKind::kInvalidArgument, "another directory");
  };
  refused(kDirectory, "in", "in");
  refused(kDirectory, "in/", "in");
  refused(kDirectory, "in/out", "in");
  refused(kFile, "in/out.gguf", "in");
  refused(kFile, "link/../in/out.gguf", "in");
  refused(kFile, "link/out.gguf", "in");
  refused(kFile, "in/model.gguf", "in/model.gguf");
  refused(kDirectory, "in", "in/model.gguf");
  Destination beside(kFile, dir.path("in/other.gguf"), dir.path("in/model.gguf"), false);
  EXPECT_NE(beside.path(), "");
}

TEST(Destination, ParentThatIsMissing) {
  const TempDir dir;
  expect_error([&] { Destination out(kFile, dir.path("no/out.gguf"), dir.path("in"), false); },
               ErrorKind::kIo, "no: directory of the destination");
}

// A limit on the size of files stands for a full disk: both make the system refuse the bytes.
TEST(FileWriter, RoomThatIsNotThere) {
  const TempDir dir;
  const auto old_action = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  rlimit limit = old_limit;
  limit.rlim_cur = 4096;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  FileWriter file(dir.path("file"));
  expect_error([&] { file.reserve(1 << 20); }, ErrorKind::kIo, "file: reserve space: found");
  expect_error([&] { file.write_at(8192, "x"); }, ErrorKind::kIo, "file: write: found");
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_action);
  expect_error([&] { FileWriter again(dir.path("file")); }, ErrorKind::kIo, "File exists");
}

}  // namespace
}  // namespace mlxn::convert
