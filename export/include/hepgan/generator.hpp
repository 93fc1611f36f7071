// Showers or tracks from a hepgan model file (.onnx) in C++17. Header-only.
//
//   hepgan::Generator generator("model.onnx");
//   std::mt19937_64 engine(1);
//   hepgan::Showers showers = generator.generate({10.0F}, engine);  // one shower of 10 GeV
//   for (float energy : showers.output(0, "layer_1")) ...            // MeV, C order
//
//   const hepgan::Key key{seed, run, event, track};                  // gives the same shower in any thread, batch and job
//   generator.generate(conditions, key, out);                        // into memory of the caller, without allocation
//
//   hepgan::Generator kaons("rich.onnx");
//   hepgan::Tracks tracks = kaons.generate({30e3F, 3.5F, 150.0F}, engine);  // momentum, pseudorapidity, occupancy
//   float dll_k = tracks.output(0, "RichDLLk")[0];
//
// The file contains the names, units and trained ranges of the conditions, and the geometry of the cells. Errors: errors.hpp.
#ifndef HEPGAN_GENERATOR_HPP
#define HEPGAN_GENERATOR_HPP

#include "hepgan/basic_generator.hpp"
#include "hepgan/onnxruntime.hpp"

namespace hepgan {

/// The generator of a model file, computed with ONNX Runtime.
using Generator = BasicGenerator<detail::OnnxNetwork>;

}  // namespace hepgan

#endif  // HEPGAN_GENERATOR_HPP
