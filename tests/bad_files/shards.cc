// SPDX-License-Identifier: Apache-2.0
// Directories: what is missing, and indexes of shards.
#include "bad_file.h"
#include "checkpoint/test_configs.h"
#include "checkpoint/test_util.h"

namespace mlxn::bad_files {
namespace {

using namespace checkpoint;
using enum ErrorKind;

std::string shard(const std::string& name) {
  return safetensors_image("{\"" + name + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                           1);
}

// Two shards of a tensor each, "a" and "b", and an index.
BadFile index(const char* rule, ErrorKind kind, const char* text, const std::string& json) {
  return {std::string("shards: ") + rule,
          kind,
          text,
          {{"config.json", kGemma3},
           {"model-1.safetensors", shard("a")},
           {"model-2.safetensors", shard("b")},
           {"model.safetensors.index.json", json}}};
}

BadFile map(const char* rule, ErrorKind kind, const char* text, const std::string& map) {
  return index(rule, kind, text, "{\"weight_map\":" + map + "}");
}

BadFile directory(const char* rule, ErrorKind kind, const char* text, Files files) {
  return {std::string("directory: ") + rule, kind, text, std::move(files)};
}

}  // namespace

BadFiles shard_indexes() {
  return {
      index("index not json", kSafetensors,
            "model.safetensors.index.json: JSON text: found The JSON document has an improper "
            "structure: missing or superfluous commas, braces, missing keys, etc., required valid "
            "JSON",
            "weight_map"),
      index("index cut off", kSafetensors,
            "model.safetensors.index.json: JSON text: found A string is opened, but never closed., "
            "required valid JSON",
            R"({"weight_map":{"a":"mod)"),
      index("index a list", kSafetensors,
            "model.safetensors.index.json: JSON text: found an array, required an object", "[]"),
      index("no weight_map", kSafetensors,
            "model.safetensors.index.json: weight_map: found nothing, required an object of file "
            "names",
            "{}"),
      map("weight_map a list", kSafetensors,
          "model.safetensors.index.json: weight_map: found an array, required an object of file "
          "names",
          "[]"),
      map("weight_map null", kSafetensors,
          "model.safetensors.index.json: weight_map: found null, required an object of file names",
          "null"),
      map("file name a number", kSafetensors,
          "model.safetensors.index.json: weight_map.a: found 3, required a string", R"({"a":3})"),
      map("file name null", kSafetensors,
          "model.safetensors.index.json: weight_map.\"a\": found \"\", required the name of a file "
          "in the same directory",
          R"({"a":null})"),
      map("file name empty", kSafetensors,
          "model.safetensors.index.json: weight_map.\"a\": found \"\", required the name of a file "
          "in the same directory",
          R"({"a":""})"),
      map("file name in a parent directory", kSafetensors,
          "model.safetensors.index.json: weight_map.\"a\": found \"../model-1.safetensors\", "
          "required the name of a file in the same directory",
          R"({"a":"../model-1.safetensors"})"),
      map("file name absolute", kSafetensors,
          "model.safetensors.index.json: weight_map.\"a\": found \"/etc/passwd\", required the "
          "name of a file in the same directory",
          R"({"a":"/etc/passwd"})"),
      map("file name in a subdirectory", kSafetensors,
          "model.safetensors.index.json: weight_map.\"a\": found \"x/model-1.safetensors\", "
          "required the name of a file in the same directory",
          R"({"a":"x/model-1.safetensors"})"),
      map("file name with a backslash", kSafetensors,
          "model.safetensors.index.json: weight_map.\"a\": found \"..\\x5cmodel-1.safetensors\", "
          "required the name of a file in the same directory",
          R"({"a":"..\\model-1.safetensors"})"),
      map("file name of dots", kSafetensors,
          "model.safetensors.index.json: weight_map.\"a\": found \"..\", required the name of a "
          "file in the same directory",
          R"({"a":".."})"),
      map("file name with a null byte", kSafetensors,
          "model.safetensors.index.json: weight_map.\"a\": found \"model-1.safetensors\\x00x\", "
          "required the name of a file in the same directory",
          R"({"a":"model-1.safetensors\u0000x"})"),
      map("a tensor twice", kSafetensors,
          "model.safetensors.index.json: \"weight_map.a\": found the key twice, required unique "
          "keys",
          R"({"a":"model-1.safetensors","a":"model-2.safetensors"})"),
      map("no such shard", kIo, "model-3.safetensors: open: found No such file or directory",
          R"({"a":"model-3.safetensors"})"),
      map("a tensor of no shard", kSafetensors,
          "model.safetensors.index.json: weight_map.\"z\": found \"model-1.safetensors\", required "
          "a file that contains the tensor",
          R"({"a":"model-1.safetensors","z":"model-1.safetensors"})"),
      map("a tensor of another shard", kSafetensors,
          "model.safetensors.index.json: weight_map.\"b\": found \"model-1.safetensors\", required "
          "a file that contains the tensor",
          R"({"a":"model-1.safetensors","b":"model-1.safetensors"})"),
      map("index names the config", kSafetensors,
          "config.json: header length: found 6875982213128462971, required 1 to 100000000 bytes "
          "and at most the 474 that follow",
          R"({"a":"config.json"})"),
      directory("one tensor in two shards", kSafetensors,
                "model-2.safetensors: \"a\": found the tensor in another shard too, required each "
                "tensor once",
                {{"config.json", kGemma3},
                 {"model-1.safetensors", shard("a")},
                 {"model-2.safetensors", shard("a")}}),
      directory("no weights", kIo,
                ".: weights: found no model*.safetensors, required model.safetensors, or shards "
                "and model.safetensors.index.json",
                {{"config.json", kGemma3}}),
      directory("weights under another name", kIo,
                ".: weights: found no model*.safetensors, required model.safetensors, or shards "
                "and model.safetensors.index.json",
                {{"config.json", kGemma3}, {"pytorch_model.bin", "x"}}),
      directory("no config.json", kIo,
                ".: model: found neither config.json nor a .gguf file, required config.json with "
                "safetensors files, or one .gguf model",
                {{"model.safetensors", shard("a")}}),
      directory("two gguf models", kIo,
                ".: model: found 2 .gguf models, required config.json with safetensors files, or "
                "one .gguf model",
                {{"a.gguf", "GGUF"}, {"b.gguf", "GGUF"}}),
      directory("config.json a directory", kIo,
                "config.json: open: found not a regular file, required a regular file",
                {{"config.json/x", ""}}),
      directory("model.safetensors a directory", kIo,
                "model.safetensors: open: found not a regular file, required a regular file",
                {{"config.json", kGemma3}, {"model.safetensors/x", ""}}),
      directory("an empty config.json", kConfig,
                "config.json: JSON text: found Empty: no JSON found, required valid JSON",
                {{"config.json", ""}, {"model.safetensors", shard("a")}}),
      {"directory: a .json file opened",
       kIo,
       "config.json: model: found a .json file, required a model directory or a .gguf file",
       {{"config.json", "{}"}},
       Step::kOpen,
       "config.json"},
      {"directory: a file that is not there",
       kIo,
       "none.gguf: open: found No such file or directory",
       {},
       Step::kOpen,
       "none.gguf"},
  };
}

}  // namespace mlxn::bad_files
