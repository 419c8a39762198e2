// SPDX-License-Identifier: Apache-2.0
// What the command returns to the shell; listed in README.md and `mlxn --help`.
#pragma once

namespace mlxn::cli {

enum ExitCode : int {
  kOk = 0,
  // An error that no other code describes; also when stdout took no more text: with a message,
  // unless its reader had gone away.
  kFailed = 1,
  kUsage = 2,          // a flag is unknown, missing or out of range
  kBadModel = 3,       // a model file is missing, damaged or of an unsupported kind
  kOutOfMemory = 4,    // the device has too little memory
  kContextFull = 5,    // generation stopped because the KV cache is full
  kInterrupted = 130,  // Ctrl-C, after the figures so far were printed
  kTerminated = 143    // SIGTERM, likewise
};

}  // namespace mlxn::cli
