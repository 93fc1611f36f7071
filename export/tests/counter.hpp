// Allocations of this program's own code, without those that the ONNX Runtime library asks for.
#pragma once

#include <atomic>
#include <cstddef>

namespace counter {

extern std::atomic<std::size_t> ours;

}  // namespace counter
