# SPDX-License-Identifier: Apache-2.0
# The Metal backend, on Apple's metal-cpp (scripts/fetch_metal_cpp). On a Mac it is part of the library. On
# x86-64 Linux the same sources are compiled against the same headers and linked to tests alone, over
# tests/fake_metal, which runs dispatches through the emulator.
set(MLXN_METAL AUTO CACHE STRING "Build the Metal backend: ON, OFF, or AUTO (if metal-cpp is found)")
set_property(CACHE MLXN_METAL PROPERTY STRINGS AUTO ON OFF)
set(MLXN_METAL_CPP "${PROJECT_SOURCE_DIR}/build/metal_cpp" CACHE PATH "The folder of metal-cpp")
set(MLXN_METAL_ON FALSE)        # in the library
set(MLXN_METAL_STAND_IN FALSE)  # in tests, over the stand-in

# Tests of ops with GPU kernels and of whole models, once more on Metal.
function(mlxn_add_metal_test name source)
  mlxn_runs_on_gpus(${source} runs)
  if(runs)
    mlxn_run_on_metal(${name} ${name}_metal)
  endif()
endfunction()

# The dialect's own test, with its kernels.
function(mlxn_add_metal_dialect_test name)
  if(name MATCHES "dialect_test$")
    if(MLXN_METAL_ON)
      mlxn_metal_text(${PROJECT_SOURCE_DIR}/src/kernels/gpu_dialect/dialect_kernels.h gpu_dialect text)
      target_sources(${name} PRIVATE ${text})
    endif()
    mlxn_run_on_metal(${name} ${name}_metal)
  endif()
endfunction()

# Runs a test program, which is there for other devices too, on the Metal backend of this build.
function(mlxn_run_on_metal program test)
  if(MLXN_METAL_ON)
    set(environment "MLXN_TEST_DEVICE=metal;MTL_DEBUG_LAYER=1")
  elseif(TARGET mlxn_metal_stand_in)
    set(environment "MLXN_TEST_DEVICE=metal;MLXN_TEST_SHORT=1")
    target_link_libraries(${program} PRIVATE $<LINK_LIBRARY:WHOLE_ARCHIVE,mlxn_metal_stand_in>)
  else()
    return()
  endif()
  add_dependencies(mlxn_metal_tests ${program})
  add_test(NAME ${test} COMMAND ${program})
  set_tests_properties(${test} PROPERTIES LABELS metal TIMEOUT 1200 COST 1 SKIP_RETURN_CODE 77
                       ENVIRONMENT "${environment}")
endfunction()

if(MLXN_METAL STREQUAL "OFF" OR MLXN_FUZZ OR (MLXN_METAL STREQUAL "AUTO" AND MLXN_SANITIZE))
  return()
endif()
set(missing)
if(NOT EXISTS ${MLXN_METAL_CPP}/Metal/Metal.hpp)
  set(missing "metal-cpp is not at ${MLXN_METAL_CPP}; scripts/fetch_metal_cpp puts it there")
elseif(NOT APPLE)
  find_program(MLXN_METAL_CLANG NAMES clang++-19 clang++)  # metal-cpp has blocks, which g++ has not
  if(NOT MLXN_METAL_CLANG)
    set(missing "clang++ was not found")
  elseif(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" OR NOT MLXN_EMULATOR OR MLXN_SANITIZE)
    set(missing "its stand-in needs x86-64 and the emulator")
  endif()
endif()
if(missing AND MLXN_METAL STREQUAL "AUTO")
  message(STATUS "Metal backend: not built, ${missing}")
  return()
elseif(missing)
  message(FATAL_ERROR "MLXN_METAL: ${missing}")
elseif(APPLE)
  set(MLXN_METAL_ON TRUE)
  set(MLXN_PC_FRAMEWORKS " -framework Foundation -framework Metal")
  message(STATUS "Metal backend: ${MLXN_METAL_CPP}")
else()
  set(MLXN_METAL_STAND_IN TRUE)
  message(STATUS "Metal backend: in tests, over the stand-in, by ${MLXN_METAL_CLANG}")
endif()

add_custom_target(mlxn_metal_tests)  # builds the programs that the ctest label `metal` runs

# A source file that holds the kernels of one header as Metal text.
file(WRITE ${PROJECT_BINARY_DIR}/metal/include/metal_stdlib "")
function(mlxn_metal_text header name result)
  set(output ${PROJECT_BINARY_DIR}/metal/${name}.cc)
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DCOMPILER=${CMAKE_CXX_COMPILER} -DHEADER=${header} -DNAME=${name}
            -DOUTPUT=${output} -DSOURCE_DIR=${PROJECT_SOURCE_DIR}
            -DINCLUDE=${PROJECT_BINARY_DIR}/metal/include
            -P ${PROJECT_SOURCE_DIR}/cmake/metal_source.cmake
    DEPENDS ${header} ${PROJECT_SOURCE_DIR}/cmake/metal_source.cmake DEPFILE ${output}.d
    COMMENT "Metal text of ${name}" VERBATIM)
  set(${result} ${output} PARENT_SCOPE)
endfunction()

# The texts of all kernels of the library, and a source file that names them.
function(mlxn_metal_texts result)
  file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/kernels/*/gpu.h
       ${PROJECT_SOURCE_DIR}/src/kernels/*/metal.h)
  list(FILTER headers EXCLUDE REGEX "/kernels/common/")  # the dialect itself
  set(texts)
  set(declarations)
  set(addresses)
  foreach(header IN LISTS headers)
    get_filename_component(folder ${header} DIRECTORY)
    get_filename_component(name ${folder} NAME)
    if(header MATCHES "metal.h$")
      string(APPEND name _metal)
    endif()
    mlxn_metal_text(${header} ${name} text)
    list(APPEND texts ${text})
    string(APPEND declarations "extern const KernelSource kSourceOf_${name};\n")
    string(APPEND addresses "    &kSourceOf_${name},\n")
  endforeach()
  set(list ${PROJECT_BINARY_DIR}/metal/linked_sources.cc)
  file(CONFIGURE OUTPUT ${list} CONTENT "#include \"backends/metal/kernel_source.h\"
namespace mlxn::backends::metal {
${declarations}const KernelSource* const kLinkedSources[] = {
${addresses}    nullptr};
}  // namespace mlxn::backends::metal
")
  set(${result} ${texts} ${list} PARENT_SCOPE)
endfunction()

# An object of a source that includes metal-cpp, on Linux. Use it in the folder whose targets link it.
set(MLXN_METAL_FLAGS -std=c++20 -O2 -g1 -fPIC -fvisibility=hidden -fvisibility-inlines-hidden -Wall -Wextra
    -ffp-contract=off -fblocks -Dweak_import=weak -DMLXN_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    -I${PROJECT_SOURCE_DIR}/include -I${PROJECT_SOURCE_DIR}/src -I${PROJECT_SOURCE_DIR}/tests
    -isystem ${PROJECT_SOURCE_DIR}/tests/fake_metal/system -isystem ${MLXN_METAL_CPP})
if(MLXN_WERROR)
  list(APPEND MLXN_METAL_FLAGS -Werror)
endif()
set(metal_launcher)
if(CMAKE_CXX_COMPILER_LAUNCHER MATCHES "ccache$")
  set(metal_launcher ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
function(mlxn_metal_object source result)
  file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR} ${source})
  string(REPLACE "/" "_" name ${name})
  set(object ${PROJECT_BINARY_DIR}/metal/${name}.o)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${metal_launcher} ${MLXN_METAL_CLANG} ${MLXN_METAL_FLAGS} -c ${source} -o ${object}
            -MD -MF ${object}.d
    DEPENDS ${source} DEPFILE ${object}.d
    COMMENT "Metal: ${name}" VERBATIM)
  set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
  set(${result} ${object} PARENT_SCOPE)
endfunction()

# The backend over the stand-in, as one library that test programs link whole.
function(mlxn_build_metal_stand_in)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/backends/metal/*.cc
       ${PROJECT_SOURCE_DIR}/tests/fake_metal/*.cc)
  set(objects)
  foreach(source IN LISTS sources)
    mlxn_metal_object(${source} object)
    list(APPEND objects ${object})
  endforeach()
  mlxn_metal_texts(texts)
  mlxn_metal_text(${PROJECT_SOURCE_DIR}/src/kernels/gpu_dialect/dialect_kernels.h gpu_dialect dialect)
  add_library(mlxn_metal_stand_in STATIC ${objects} ${texts} ${dialect})
  target_include_directories(mlxn_metal_stand_in PRIVATE ${PROJECT_SOURCE_DIR}/src)
  target_compile_options(mlxn_metal_stand_in PRIVATE ${MLXN_FLAGS})
endfunction()

# A test program that includes metal-cpp itself.
function(mlxn_add_metal_backend_test name source)
  if(MLXN_METAL_ON)
    mlxn_add_test(${name} metal ${source})
  else()
    mlxn_metal_object(${source} object)
    mlxn_add_test(${name} metal ${object})
    set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX)
    target_link_libraries(${name} PRIVATE mlxn_emulator mlxn_emulated_kernels
                          $<LINK_LIBRARY:WHOLE_ARCHIVE,mlxn_metal_stand_in>)
  endif()
  add_dependencies(mlxn_metal_tests ${name})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77
                       ENVIRONMENT "MLXN_TEST_DEVICE=metal;MTL_CAPTURE_ENABLED=1")
endfunction()
