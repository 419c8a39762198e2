// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <cstring>

#include "mlxn/version.h"

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--version") == 0) {
    fmt::print("mlxn {}\n", mlxn::version());
    return 0;
  }
  fmt::print(stderr, "usage: mlxn --version\n");
  return 2;
}
