# Finds the headers of ONNX Runtime in ONNXRUNTIME_ROOT, in an installed CMake package, or in the usual folders.
if(NOT ONNXRUNTIME_ROOT)
  find_package(onnxruntime CONFIG QUIET)
  if(TARGET onnxruntime::onnxruntime)
    get_target_property(onnxruntime_include onnxruntime::onnxruntime INTERFACE_INCLUDE_DIRECTORIES)
  endif()
endif()
find_path(
  ONNXRUNTIME_INCLUDE_DIR onnxruntime_c_api.h
  HINTS ${ONNXRUNTIME_ROOT} ${onnxruntime_include}
  PATH_SUFFIXES include include/onnxruntime include/onnxruntime/core/session usr/include/onnxruntime onnxruntime
)
