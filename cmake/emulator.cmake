# SPDX-License-Identifier: Apache-2.0
# The SIMT emulator and the GPU kernels compiled for it, for tests only. It is a sanitizer of its own, built
# on the hooks of -fsanitize=thread, and cannot share a program with the others.
set(MLXN_EMULATOR_ON FALSE)

# Links the emulator to a test program and runs the ctest test on it: in front of the others, being the longest.
function(mlxn_use_emulator program test)
  target_link_libraries(${program} PRIVATE mlxn_emulator mlxn_emulated_kernels)
  set_tests_properties(${test} PROPERTIES
    LABELS emulator TIMEOUT 600 COST 2 ENVIRONMENT "MLXN_TEST_DEVICE=emulator")
endfunction()

# Tests of ops with GPU kernels and of whole models, once more on the emulator.
function(mlxn_add_emulator_test name source)
  mlxn_runs_on_gpus(${source} runs)
  if(MLXN_EMULATOR_ON AND runs)
    add_test(NAME ${name}_emulator COMMAND ${name})
    mlxn_use_emulator(${name} ${name}_emulator)
  endif()
endfunction()

if(NOT MLXN_EMULATOR OR MLXN_SANITIZE OR NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|aarch64")
  return()
endif()
set(MLXN_EMULATOR_ON TRUE)

file(GLOB MLXN_EMULATOR_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/backends/emulator/*.cc)
list(REMOVE_ITEM MLXN_EMULATOR_SOURCES ${MLXN_TEST_SOURCES})
add_library(mlxn_emulator OBJECT ${MLXN_EMULATOR_SOURCES})
target_link_libraries(mlxn_emulator PRIVATE mlxn_objects)
target_compile_options(mlxn_emulator PRIVATE ${MLXN_FLAGS})

# Each folder's gpu.h and metal.h are source files of their own: kernels know nothing of each other.
file(GLOB MLXN_GPU_KERNELS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/*/gpu.h
     ${PROJECT_SOURCE_DIR}/src/kernels/*/metal.h)
list(FILTER MLXN_GPU_KERNELS EXCLUDE REGEX "/kernels/common/")  # the dialect itself
list(APPEND MLXN_GPU_KERNELS ${PROJECT_SOURCE_DIR}/src/kernels/gpu_dialect/dialect_kernels.h
                             ${PROJECT_SOURCE_DIR}/src/kernels/gpu_dialect/planted_bugs.h)
set(MLXN_EMULATED_KERNELS)
foreach(header IN LISTS MLXN_GPU_KERNELS)
  file(RELATIVE_PATH path ${PROJECT_SOURCE_DIR}/src ${header})
  string(REPLACE "/" "_" source ${path})
  string(REPLACE ".h" ".cc" source ${source})
  file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/emulator/${source} CONTENT "#include \"${path}\"\n")
  list(APPEND MLXN_EMULATED_KERNELS ${PROJECT_BINARY_DIR}/emulator/${source})
endforeach()
add_library(mlxn_emulated_kernels OBJECT ${MLXN_EMULATED_KERNELS})
target_include_directories(mlxn_emulated_kernels PRIVATE
  ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/src/backends/emulator/include)
target_compile_definitions(mlxn_emulated_kernels PRIVATE MLXN_EMULATOR)
# Fused multiply-adds and half floats as instructions, where this machine has them: the same results, sooner.
set(MLXN_EMULATOR_FLAGS)
include(CheckCXXSourceRuns)
check_cxx_source_runs("int main() { return __builtin_cpu_supports(\"x86-64-v3\") ? 0 : 1; }" MLXN_HOST_IS_X86_64_V3)
if(MLXN_HOST_IS_X86_64_V3)
  set(MLXN_EMULATOR_FLAGS -march=x86-64-v3)
endif()
# g++ does not see that a condition repeated behind a barrier still holds. -g1: reports name source lines. The
# last flag: a read of x in x += y must be seen, which clang otherwise drops.
target_compile_options(mlxn_emulated_kernels PRIVATE
  ${MLXN_FLAGS} ${MLXN_EMULATOR_FLAGS} -Wno-unused-parameter -Wno-maybe-uninitialized -O2 -g1 -fsanitize=thread
  $<$<CXX_COMPILER_ID:Clang>:SHELL:-mllvm -tsan-instrument-read-before-write=1>)
