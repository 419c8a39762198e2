# SPDX-License-Identifier: Apache-2.0
# Writes the kernels of one gpu.h as a C++ source that holds their Metal text: the dialect's macros expanded,
# nothing included but <metal_stdlib>, which Metal compiles at run time. Run as a script:
#   cmake -DCOMPILER=... -DHEADER=... -DNAME=... -DOUTPUT=... -DSOURCE_DIR=... -DINCLUDE=... -P metal_source.cmake
# INCLUDE has an empty metal_stdlib. The names of kernels are read off the expanded text.
cmake_minimum_required(VERSION 3.25)
execute_process(
  COMMAND ${COMPILER} -E -P -x c++ -std=c++17 -nostdinc -Wno-builtin-macro-redefined -D__clang__=1
          -I${SOURCE_DIR}/src -I${INCLUDE} -MD -MF ${OUTPUT}.d -MT ${OUTPUT} ${HEADER}
  OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "host_name\\(\"[a-z0-9_]+\"\\)" instances "${text}")
string(REGEX MATCHALL "kernel void [a-z0-9_]+\\(" functions "${text}")
string(REGEX REPLACE "host_name\\(\"|kernel void |\"\\)|\\(" "" names "${instances};${functions}")
list(REMOVE_ITEM names "")
list(JOIN names "\", \"" names)
file(WRITE ${OUTPUT} "#include \"backends/metal/kernel_source.h\"

namespace mlxn::backends::metal {
namespace {
const char* const kKernels[] = {\"${names}\", nullptr};
}  // namespace
extern const KernelSource kSourceOf_${NAME};
const KernelSource kSourceOf_${NAME}(\"${NAME}\", kKernels, R\"mlxn(#include <metal_stdlib>
${text})mlxn\");
}  // namespace mlxn::backends::metal
")
