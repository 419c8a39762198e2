// SPDX-License-Identifier: Apache-2.0
// Text from a model directory or GGUF file: embed MODEL PROMPT
#include <mlxn/mlxn.h>

#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: embed MODEL PROMPT\n";
    return 2;
  }
  const mlxn::Device device = mlxn::Device::best();
  const mlxn::Checkpoint checkpoint = mlxn::Checkpoint::open(argv[1]);
  const mlxn::Tokenizer tokenizer = mlxn::load_tokenizer(checkpoint);
  mlxn::Generator generator(mlxn::Model::load(device, checkpoint), tokenizer);

  mlxn::GenerateOptions options;
  options.max_tokens = 64;
  generator.run({tokenizer.encode(argv[2])}, options,
                [](const mlxn::TokenEvent& event) { std::cout << event.text << std::flush; });
  std::cout << "\n";
} catch (const mlxn::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
