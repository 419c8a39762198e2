// SPDX-License-Identifier: Apache-2.0
// A GGUF file: header, metadata, model configuration, weights, vocabulary.
#include <span>
#include <string>

#include "checkpoint/checkpoint_impl.h"
#include "checkpoint/gguf_parse.h"
#include "mlxn/checkpoint.h"
#include "mlxn/tokenizer.h"
#include "tests/fuzz/harness.h"
#include "tests/fuzz/weights.h"

namespace mlxn::fuzz {
namespace {

void read_header(std::span<const std::byte> bytes) {
  const checkpoint::GgufHeader header = checkpoint::parse_gguf(bytes, "input.gguf");
  for (const checkpoint::GgufTensor& tensor : header.tensors) {
    require(tensor.begin <= tensor.end && tensor.end <= bytes.size(), "tensors inside the file");
  }
  for (const checkpoint::GgufValue& value : header.metadata) {
    touch(value.data);
    if (value.element_type == checkpoint::GgufValueType::kString) {
      for (const std::string_view text : checkpoint::decode_strings(value)) {
        touch(std::as_bytes(std::span(text)));
      }
    }
  }
}

void use_model(const std::string& path) {
  static const Device device = Device::open("cpu", {.num_threads = 1});
  const Checkpoint checkpoint = Checkpoint::open(path);
  load_all(device, checkpoint.impl().tensors, checkpoint.impl().quant, 1);
  expect_typed({ErrorKind::kGguf, ErrorKind::kTokenizer}, [&] {
    const Tokenizer tokenizer = Tokenizer::from_gguf_vocab(*checkpoint.gguf_vocab());
    tokenizer.decode(tokenizer.encode("a <b>\n\xff the <bos>"));
  });
}

}  // namespace
}  // namespace mlxn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace mlxn;
  const fuzz::Limits limits(size);
  static fuzz::MemoryFile file;
  const auto bytes = std::as_bytes(std::span(data, size));
  fuzz::expect_typed({ErrorKind::kGguf, ErrorKind::kConfig, ErrorKind::kUnsupportedDtype}, [&] {
    fuzz::read_header(bytes);  // from the fuzzer's own memory, whose end is guarded
    file.write(bytes);
    fuzz::use_model(file.path());
  });
  limits.check();
  return 0;
}
