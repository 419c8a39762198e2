# SPDX-License-Identifier: Apache-2.0
# The CUDA backend. nvcc compiles each folder's gpu.h ahead of time; the runtime is linked statically, so that
# programs need the driver only, and not even that to run on the CPU.
set(MLXN_CUDA AUTO CACHE STRING "Build the CUDA backend: ON, OFF, or AUTO (if nvcc is found)")
set_property(CACHE MLXN_CUDA PROPERTY STRINGS AUTO ON OFF)
# SASS for sm_80 and sm_90a, PTX of compute_80 for whatever comes between and after.
set(MLXN_CUDA_TARGETS "-gencode=arch=compute_80,code=[sm_80,compute_80];-gencode=arch=compute_90a,code=sm_90a"
    CACHE STRING "What nvcc compiles for")
option(MLXN_CUDA_CHECK "Compile kernels only to see that they compile: PTX that nobody should run, in a tenth of the time" OFF)
option(MLXN_CUDA_RACECHECK "Kernels for compute-sanitizer's racecheck, see kEvenMeetings in attn_prefill/cuda_rows.h" OFF)
set(MLXN_CUDA_ON FALSE)

# scripts/test_gpu.sh runs the programs in this list.
function(mlxn_list_cuda_program name)
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/cuda/tests/${name} CONTENT "$<TARGET_FILE:${name}>\n")
endfunction()

# Tests of ops with GPU kernels and of whole models, once more on the GPU; skipped where there is none.
function(mlxn_add_cuda_test name source)
  mlxn_runs_on_gpus(${source} runs)
  if(MLXN_CUDA_ON AND runs)
    add_test(NAME ${name}_cuda COMMAND ${name})
    set_tests_properties(${name}_cuda PROPERTIES LABELS cuda TIMEOUT 600 SKIP_RETURN_CODE 77
                         ENVIRONMENT "MLXN_TEST_DEVICE=cuda")
    mlxn_list_cuda_program(${name})
  endif()
endfunction()

# The dialect's own test, with its kernels.
function(mlxn_add_cuda_dialect_test name)
  if(MLXN_CUDA_ON AND name MATCHES "dialect_test$")
    mlxn_cuda_object(${PROJECT_SOURCE_DIR}/src/kernels/gpu_dialect/dialect_kernels.h gpu_dialect_kernels object)
    target_sources(${name} PRIVATE ${object})
    add_test(NAME ${name}_cuda COMMAND ${name})
    set_tests_properties(${name}_cuda PROPERTIES LABELS cuda TIMEOUT 600 SKIP_RETURN_CODE 77
                         ENVIRONMENT "MLXN_TEST_DEVICE=cuda")
    mlxn_list_cuda_program(${name})
  endif()
endfunction()

if(MLXN_CUDA STREQUAL "OFF" OR MLXN_FUZZ OR (MLXN_CUDA STREQUAL "AUTO" AND MLXN_SANITIZE))
  return()
endif()
find_program(MLXN_NVCC nvcc HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
if(MLXN_NVCC)
  file(REAL_PATH ${MLXN_NVCC} nvcc)
  cmake_path(GET nvcc PARENT_PATH toolkit)
  cmake_path(GET toolkit PARENT_PATH toolkit)
  find_library(MLXN_CUDART libcudart_static.a HINTS ${toolkit}/lib64 ${toolkit}/targets/x86_64-linux/lib)
  find_path(MLXN_CUDA_INCLUDE cuda_runtime_api.h HINTS ${toolkit}/include)
endif()
if(NOT MLXN_NVCC OR NOT MLXN_CUDART OR NOT MLXN_CUDA_INCLUDE)
  if(MLXN_CUDA STREQUAL "AUTO")
    message(STATUS "CUDA backend: not built, nvcc and the static CUDA runtime were not found")
    return()
  endif()
  message(FATAL_ERROR "MLXN_CUDA: nvcc and libcudart_static.a are needed; set CUDA_HOME to the toolkit")
endif()
set(MLXN_CUDA_ON TRUE)
message(STATUS "CUDA backend: ${MLXN_NVCC}")

# nvcc's own output and headers want fewer host warnings than the project's; kernels get nvcc's.
set(MLXN_NVCC_FLAGS -std=c++20 -O3 -fmad=false -lineinfo -Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wno-unused-parameter)
if(MLXN_CUDA_RACECHECK)
  list(APPEND MLXN_NVCC_FLAGS -DMLXN_CUDA_RACECHECK=1)
endif()
# A fifth of the size where nvcc (12.8 and later) knows how; kernels are unpacked when they are loaded.
set(compress_mode size)
if(MLXN_CUDA_CHECK)
  list(APPEND MLXN_NVCC_FLAGS -gencode=arch=compute_80,code=compute_80 -gencode=arch=compute_90a,code=compute_90a
       -Xcicc -O0 -DMLXN_CUDA_CHECK=1)
  set(compress_mode speed)
else()
  list(APPEND MLXN_NVCC_FLAGS ${MLXN_CUDA_TARGETS})
endif()
if(MLXN_WERROR)
  list(APPEND MLXN_NVCC_FLAGS -Werror=all-warnings)
endif()
execute_process(COMMAND ${MLXN_NVCC} --help OUTPUT_VARIABLE nvcc_help ERROR_QUIET)
if(nvcc_help MATCHES "--compress-mode")
  list(APPEND MLXN_NVCC_FLAGS --compress-mode=${compress_mode})
endif()
set(nvcc_launcher)
if(CMAKE_CXX_COMPILER_LAUNCHER MATCHES "ccache$")
  set(nvcc_launcher ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()

# An object with the kernels of one header; `name` is how the program refers to it. Use it in the folder whose
# targets link the object.
function(mlxn_cuda_object header name result)
  set(source ${PROJECT_BINARY_DIR}/cuda/${name}.cu)
  set(object ${PROJECT_BINARY_DIR}/cuda/${name}.o)
  file(RELATIVE_PATH path ${PROJECT_SOURCE_DIR}/src ${header})
  file(CONFIGURE OUTPUT ${source} CONTENT "#include \"${path}\"
namespace mlxn::backends::cuda {
extern const int kKernelsOf_${name};
const int kKernelsOf_${name} = 1;
}  // namespace mlxn::backends::cuda
")
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${nvcc_launcher} ${MLXN_NVCC} -c ${source} -o ${object} -I${PROJECT_SOURCE_DIR}/src
            ${MLXN_NVCC_FLAGS} -MD -MF ${object}.d
    DEPENDS ${source} DEPFILE ${object}.d
    COMMENT "CUDA kernels of ${path}" VERBATIM)
  set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set(${result} ${object} PARENT_SCOPE)
endfunction()

# Objects with all kernels of the library, and a source file that names them.
function(mlxn_cuda_kernels objects_result source_result)
  file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/*/gpu.h
       ${PROJECT_SOURCE_DIR}/src/kernels/*/cuda*.cu)
  set(objects)
  set(declarations)
  set(addresses)
  foreach(header IN LISTS headers)
    if(header MATCHES "/kernels/common/")  # the dialect itself
      continue()
    endif()
    file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR}/src/kernels ${header})
    string(REGEX REPLACE "[/.]" "_" name ${name})
    mlxn_cuda_object(${header} ${name} object)
    list(APPEND objects ${object})
    string(APPEND declarations "extern const int kKernelsOf_${name};\n")
    string(APPEND addresses "    &kKernelsOf_${name},\n")
  endforeach()
  set(source ${PROJECT_BINARY_DIR}/cuda/linked_kernels.cc)
  file(CONFIGURE OUTPUT ${source} CONTENT "namespace mlxn::backends::cuda {
${declarations}extern const int* const kLinkedKernels[];
const int* const kLinkedKernels[] = {
${addresses}    nullptr};
}  // namespace mlxn::backends::cuda
")
  set(${objects_result} ${objects} PARENT_SCOPE)
  set(${source_result} ${source} PARENT_SCOPE)
endfunction()
