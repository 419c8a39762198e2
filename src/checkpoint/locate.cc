// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/locate.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/directory.h"
#include "base/mapped_file.h"
#include "base/no_memory.h"
#include "checkpoint/fail.h"
#include "mlxn/checkpoint.h"

namespace mlxn::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxConfigBytes = size_t{4} << 20;

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

bool path_exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

bool path_is_directory(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// Models among the .gguf files of a directory: later parts of split models and vision projectors
// are left out.
std::vector<std::string> list_gguf_models(const std::string& directory) {
  std::vector<std::string> result;
  for (const std::string& name : base::list_directory(directory)) {
    if (!ends_with(name, ".gguf") || name.rfind("mmproj", 0) == 0) continue;
    const size_t of = name.rfind("-of-");
    const bool is_part = of != std::string::npos && of >= 6 && name.size() == of + 14;
    if (is_part && name.compare(of - 6, 6, "-00001") != 0) continue;
    result.push_back((fs::path(directory) / name).string());
  }
  return result;
}

// "org/name" of letters, digits, '-', '_' and '.', neither part starting with '.' or '-'.
bool is_hub_id(const std::string& spec) {
  const size_t slash = spec.find('/');
  if (slash == std::string::npos || spec.find('/', slash + 1) != std::string::npos) return false;
  const auto part_ok = [](std::string_view part) {
    return !part.empty() && part.size() <= 96 && part[0] != '.' && part[0] != '-' &&
           std::all_of(part.begin(), part.end(), [&](char c) {
             return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_' || c == '.';
           });
  };
  const std::string_view view = spec;
  return part_ok(view.substr(0, slash)) && part_ok(view.substr(slash + 1));
}

// Revision of a cached repository: the commit in refs/main.
std::string read_main_revision(const fs::path& repository) {
  const std::string path = (repository / "refs" / "main").string();
  std::string revision = base::read_text_file(path, 4096);
  while (!revision.empty() && (revision.back() == '\n' || revision.back() == ' ')) {
    revision.pop_back();
  }
  const bool ok = !revision.empty() && std::all_of(revision.begin(), revision.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (!ok) fail(ErrorKind::kIo, path, "revision", in_quotes(revision), "a commit hash");
  return revision;
}

}  // namespace

ModelLocation locate_model(const std::string& path) {
  using Kind = ModelLocation::Kind;
  if (!path_is_directory(path)) {
    return {ends_with(path, ".json") ? Kind::kConfigFile : Kind::kGguf, path};
  }
  if (path_exists(fs::path(path) / "config.json")) return {Kind::kDirectory, path};
  const std::vector<std::string> models = list_gguf_models(path);
  if (models.size() == 1) return {Kind::kGguf, models[0]};
  fail(ErrorKind::kIo, path, "model",
       models.empty() ? "neither config.json nor a .gguf file"
                      : fmt::format("{} .gguf models", models.size()),
       "config.json with safetensors files, or one .gguf model");
}

Json read_json_file(const std::string& path) {
  return Json::parse(base::read_text_file(path, kMaxConfigBytes), path);
}

Json read_json_file_if_exists(const std::string& path) {
  return path_exists(path) ? read_json_file(path) : Json();
}

}  // namespace mlxn::checkpoint

namespace mlxn {

std::string resolve_model_path(const std::string& spec, const std::string& hf_cache_dir) try {
  namespace fs = std::filesystem;
  using namespace checkpoint;
  if (path_exists(spec)) return spec;
  if (!is_hub_id(spec) || hf_cache_dir.empty()) {
    fail(ErrorKind::kIo, in_quotes(spec), "model", "no such file or directory",
         "a model directory, a .gguf file, or org/name in the local Hugging Face cache");
  }
  std::string folder = "models--" + spec;
  folder.replace(folder.find('/'), 1, "--");
  for (const fs::path& root : {fs::path(hf_cache_dir), fs::path(hf_cache_dir) / "hub"}) {
    if (!path_exists(root / folder / "refs" / "main")) continue;
    const fs::path snapshot = root / folder / "snapshots" / read_main_revision(root / folder);
    if (path_is_directory(snapshot)) return snapshot.string();
    fail(ErrorKind::kIo, snapshot.string(), "snapshot", "nothing", "the directory refs/main names");
  }
  fail(ErrorKind::kIo, in_quotes(spec), "model", "nothing",
       fmt::format("{}/{} (or under hub/)", hf_cache_dir, folder));
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn
