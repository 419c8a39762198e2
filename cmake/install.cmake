# SPDX-License-Identifier: Apache-2.0
# cmake --install: headers, library, CMake package, pkg-config file.
include(CMakePackageConfigHelpers)

install(TARGETS mlxn_static mlxn_shared EXPORT mlxnTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/mlxn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(EXPORT mlxnTargets NAMESPACE mlxn:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mlxn)
configure_package_config_file(cmake/mlxnConfig.cmake.in ${PROJECT_BINARY_DIR}/mlxnConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mlxn)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mlxnConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mlxnConfig.cmake ${PROJECT_BINARY_DIR}/mlxnConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/mlxn)
configure_file(cmake/mlxn.pc.in ${PROJECT_BINARY_DIR}/mlxn.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/mlxn.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
