# SPDX-License-Identifier: Apache-2.0
# Flags that every target of the project shares, and where tests and benchmarks are found.

# g++ 12 reports overlapping copies inside std::string that cannot happen (GCC bug 105651).
set(MLXN_WARNINGS -Wall -Wextra)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND MLXN_WARNINGS -Wno-restrict)
endif()
if(MLXN_WERROR)
  list(APPEND MLXN_WARNINGS -Werror)
endif()
# Contracted a*b+c would make results depend on the compiler's choice; kernels ask for fma by name.
set(MLXN_FLAGS ${MLXN_WARNINGS} -ffp-contract=off)

if(MLXN_SANITIZE)
  add_compile_options(-fsanitize=${MLXN_SANITIZE} -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${MLXN_SANITIZE})
  if(MLXN_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()

# Saves two seconds a file, as long as what the small ones take. Off by default: a compiler cache cannot keep objects that
# were made from precompiled headers, and forgotten includes go unseen. Where there is such a cache, the library's objects
# are left to it.
option(MLXN_PRECOMPILE "Precompile standard headers" OFF)
set(MLXN_COMMON_HEADERS <algorithm> <array> <cmath> <cstdint> <cstring> <functional> <limits> <map> <memory> <optional>
    <span> <string> <string_view> <unordered_map> <utility> <variant> <vector> <fmt/format.h>)
function(mlxn_precompile target)
  if(MLXN_PRECOMPILE)
    target_precompile_headers(${target} PRIVATE ${MLXN_COMMON_HEADERS} ${ARGN})
  endif()
endfunction()

# What lies beside the code: <name>_test.cc and test.cc are tests, bench.cc and <name>_bench.cc
# are benchmarks.
file(GLOB_RECURSE MLXN_TEST_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*_test.cc
     ${PROJECT_SOURCE_DIR}/src/*/test.cc)
file(GLOB_RECURSE MLXN_BENCH_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*_bench.cc
     ${PROJECT_SOURCE_DIR}/src/*/bench.cc)

# src/kernels/rms_norm/test.cc -> kernels_rms_norm_test; src/base/dtype_test.cc -> base_dtype_test.
function(mlxn_target_name source result)
  file(RELATIVE_PATH path ${PROJECT_SOURCE_DIR}/src ${source})
  string(REGEX REPLACE "\\.cc$" "" path ${path})
  string(REPLACE "/" "_" path ${path})
  set(${result} ${path} PARENT_SCOPE)
endfunction()

# The ctest label of a test follows from its room.
function(mlxn_label_of source result)
  if(source MATCHES "(mutation|robustness)_test.cc$")
    set(label fuzz)
  elseif(source MATCHES "/src/(quant|checkpoint|convert)/")
    set(label format)
  elseif(source MATCHES "/src/tokenizer/")
    set(label tokenizer)
  elseif(source MATCHES "/src/(models|runtime)/")
    set(label model)
  elseif(source MATCHES "/src/kernels/gpu_dialect/")
    set(label emulator)
  else()
    set(label cpu)
  endif()
  set(${result} ${label} PARENT_SCOPE)
endfunction()

# Whether a test runs once more on each GPU backend: ops with GPU kernels, and what stands on them.
set(MLXN_TESTS_ON_GPUS kv_cache/kv_cache kv_cache/paged models/blocks/attention models/model runtime/generator
                       tests/model_goldens tests/model_demo tests/model_bits)
list(JOIN MLXN_TESTS_ON_GPUS "|" MLXN_TESTS_ON_GPUS)
function(mlxn_runs_on_gpus source result)
  get_filename_component(folder ${source} DIRECTORY)
  if(EXISTS ${folder}/gpu_launch.cc OR source MATCHES "/(${MLXN_TESTS_ON_GPUS})_test.cc$")
    set(${result} TRUE PARENT_SCOPE)
  else()
    set(${result} FALSE PARENT_SCOPE)
  endif()
endfunction()

# Headers of tests, precompiled once for all of them; the program itself does nothing.
function(mlxn_add_test_headers)
  if(MLXN_PRECOMPILE)
    file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/test_headers.cc CONTENT "int main() {}\n")
    add_executable(mlxn_test_headers ${PROJECT_BINARY_DIR}/test_headers.cc)
    mlxn_set_test_flags(mlxn_test_headers)
    mlxn_precompile(mlxn_test_headers <gtest/gtest.h> <random>)
  endif()
endfunction()

function(mlxn_set_test_flags name)
  target_link_libraries(${name} PRIVATE fmt::fmt GTest::gtest GTest::gtest_main)
  # GoogleTest's macros take twice as long to compile at -O3, and few tests are longer than their compilation.
  target_compile_options(${name} PRIVATE ${MLXN_FLAGS} $<$<CONFIG:Release>:-O1>)
  if(MLXN_SANITIZE MATCHES "undefined")  # the library is what it checks; here it doubles the compilation
    target_compile_options(${name} PRIVATE -fno-sanitize=undefined)
  endif()
  target_compile_definitions(${name} PRIVATE MLXN_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endfunction()

# A GoogleTest program. Tests find data through MLXN_SOURCE_DIR.
function(mlxn_add_test name label)
  add_executable(${name} ${ARGN})
  mlxn_set_test_flags(${name})
  target_link_libraries(${name} PRIVATE mlxn_objects)
  if(MLXN_PRECOMPILE)
    target_precompile_headers(${name} REUSE_FROM mlxn_test_headers)
  endif()
  add_test(NAME ${name} COMMAND ${name})
  # Tests ask for more memory than there is; the sanitizers' allocators must answer as malloc does.
  set_tests_properties(${name} PROPERTIES LABELS ${label} TIMEOUT 600 ENVIRONMENT
    "ASAN_OPTIONS=allocator_may_return_null=1;TSAN_OPTIONS=allocator_may_return_null=1")
endfunction()

# CUDA's headers, for what lies beside its backend.
function(mlxn_see_cuda name source)
  if(source MATCHES "/backends/cuda/")
    target_include_directories(${name} SYSTEM PRIVATE ${MLXN_CUDA_INCLUDE})
  endif()
endfunction()

function(mlxn_add_room_tests)
  foreach(source IN LISTS MLXN_TEST_SOURCES)
    if(source MATCHES "/backends/cuda/" AND NOT MLXN_CUDA_ON)
      continue()
    endif()
    mlxn_target_name(${source} name)
    mlxn_label_of(${source} label)
    if(NOT label STREQUAL emulator)
      mlxn_add_test(${name} ${label} ${source})
      mlxn_see_cuda(${name} ${source})
      mlxn_add_emulator_test(${name} ${source})
      mlxn_add_metal_test(${name} ${source})
      mlxn_add_cuda_test(${name} ${source})
    elseif(MLXN_EMULATOR_ON)
      mlxn_add_test(${name} ${label} ${source})
      mlxn_use_emulator(${name} ${name})
      mlxn_add_metal_dialect_test(${name})
      mlxn_add_cuda_dialect_test(${name})
    elseif(MLXN_METAL_ON AND name MATCHES "dialect_test$")
      mlxn_add_test(${name} metal ${source})
      mlxn_add_metal_dialect_test(${name})
    endif()
  endforeach()
endfunction()

function(mlxn_add_room_benches)
  foreach(source IN LISTS MLXN_BENCH_SOURCES)
    if(source MATCHES "/backends/cuda/" AND NOT MLXN_CUDA_ON)
      continue()
    endif()
    mlxn_target_name(${source} name)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE mlxn_objects benchmark::benchmark benchmark::benchmark_main)
    mlxn_see_cuda(${name} ${source})
    target_compile_options(${name} PRIVATE ${MLXN_FLAGS})
  endforeach()
endfunction()
