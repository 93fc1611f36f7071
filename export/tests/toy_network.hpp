// A network for tests that need no model file and no runtime: three layers, one of them polar, with energies that are a simple
// function of conditions and latent numbers.
#ifndef HEPGAN_TESTS_TOY_NETWORK_HPP
#define HEPGAN_TESTS_TOY_NETWORK_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "hepgan/basic_generator.hpp"

/// The words in `path` choose the conditions: "species" for (energy in GeV, PDG code), else (energy in GeV, theta). With
/// "odd", theta has the name "tilt", which the Geant4 adapter does not know. "tracks": no cells. "broken": energies above 50 GeV throw.
class ToyNetwork {
 public:
  static constexpr std::size_t latent = 4, cells = 3 * 4 + 2 * 5 + 4 * 2, overflow = 3;

  ToyNetwork(const std::string& path, const hepgan::Options&) : path_(path) {}

  hepgan::json::Value describe() const {
    std::ostringstream text;
    text.precision(std::numeric_limits<double>::max_digits10);
    const bool tracks = has("tracks"), species = has("species");
    text << R"({"schema": 1, "kind": ")" << (tracks ? "observables" : "calorimeter") << R"(", "latent": {"size": 4},)"
         << R"("conditions": [{"name": "incident_energy", "unit": "GeV", "transform": "log", "range": [1, 65]},)";
    if (species)
      text << R"({"name": "primary", "unit": "", "transform": "none", "range": [-11, 22],)"
           << R"( "categories": {"e+": -11, "e-": 11, "gamma": 22}}],)";
    else
      text << R"({"name": ")" << (has("odd") ? "tilt" : "theta") << R"(", "unit": "rad", "transform": "none", "range": [0, 0.5]}],)";
    text << R"("outputs": [)";
    if (tracks) {
      text << R"({"name": "t", "unit": "", "role": "target", "shape": [33], "scale": 1}],)";
    } else {
      text << R"({"name": "layer_0", "unit": "GeV", "role": "layer", "shape": [3, 4]},)"
           << R"({"name": "layer_1", "unit": "GeV", "role": "layer", "shape": [2, 5]},)"
           << R"({"name": "layer_2", "unit": "GeV", "role": "layer", "shape": [4, 2]},)"
           << R"({"name": "overflow", "unit": "GeV", "role": "overflow", "shape": [3]}],)"
           << R"("geometry": {"unit": "GeV", "layers": [)";
      layer(text, "layer_0", {3, 4}, {-30, 30}, {-8, 8}, {-20, -10}, false);
      text << ",";
      layer(text, "layer_1", {2, 5}, {-30, 30}, {-30, 30}, {-10, 60}, false);
      text << ",";
      layer(text, "layer_2", {4, 2}, {-3.14159265358979323846, 3.14159265358979323846}, {0, 40}, {60, 80}, true);
      text << "]},";
    }
    const std::array<float, 2> condition{10, species ? 11.0F : 0.1F};
    const std::array<float, latent> numbers{0.5F, -1, 0, 2};
    std::vector<float> out(cells + overflow);
    run(condition.data(), numbers.data(), 1, out.data());
    text << R"("reference": {"condition": [)";
    list(text, condition.data(), 2);
    text << R"(], "latent": [)";
    list(text, numbers.data(), latent);
    text << R"(], "outputs": {)";
    if (tracks) {
      text << R"("t": [)";
      list(text, out.data(), out.size());
    } else {
      const std::array<std::size_t, 5> ends{0, 12, 22, 30, 33};
      const std::array<const char*, 4> names{"layer_0", "layer_1", "layer_2", "overflow"};
      for (std::size_t k = 0; k < 4; ++k) {
        text << (k == 0 ? "" : "], ") << '"' << names[k] << R"(": [)";
        list(text, out.data() + ends[k], ends[k + 1] - ends[k]);
      }
    }
    text << "]}}}";
    return hepgan::json::parse(text.str());
  }

  void prepare(const hepgan::Model& model) const {
    if (model.width != cells + overflow) throw std::runtime_error("toy: other outputs");
  }

  /// Compute energies in GeV that sum to the energy of the particle; some are exactly zero.
  void run(const float* conditions, const float* numbers, std::size_t rows, float* out) const {
    for (std::size_t row = 0; row < rows; ++row) {
      const float energy = conditions[2 * row];
      if (has("broken") && energy > 50) throw std::runtime_error("the toy broke");
      float* const result = out + row * (cells + overflow);
      float sum = 0;
      for (std::size_t k = 0; k < cells + overflow; ++k) {
        result[k] = static_cast<float>(k % 5) * std::exp(0.5F * numbers[row * latent + k % latent] + conditions[2 * row + 1] * 0.01F);
        sum += result[k];
      }
      for (std::size_t k = 0; k < cells + overflow; ++k) result[k] *= energy / sum;
    }
  }

  std::size_t batch() const { return 16; }
  std::string runtime() const { return "toy"; }

 private:
  bool has(const char* word) const { return path_.find(word) != std::string::npos; }

  template <class T>
  static void list(std::ostream& text, const T* values, std::size_t size) {
    for (std::size_t k = 0; k < size; ++k) text << (k == 0 ? "[" : ", ") << values[k];
    text << "]";
  }

  static void layer(std::ostream& text, const char* name, std::array<std::size_t, 2> shape, std::array<double, 2> x,
                    std::array<double, 2> y, std::array<double, 2> z, bool polar) {
    const auto edges = [](std::array<double, 2> ends, std::size_t n) {
      std::vector<double> result(n + 1);
      for (std::size_t k = 0; k <= n; ++k) result[k] = ends[0] + (ends[1] - ends[0]) * static_cast<double>(k) / static_cast<double>(n);
      return result;
    };
    const std::vector<double> a = edges(x, shape[0]), b = edges(y, shape[1]);
    text << R"({"name": ")" << name << R"(", "coordinates": ")" << (polar ? "polar" : "cartesian") << R"(", "shape": )";
    list(text, shape.data(), 2);
    text << R"(, "x": )";
    list(text, a.data(), a.size());
    text << R"(, "y": )";
    list(text, b.data(), b.size());
    text << R"(, "z": )";
    list(text, z.data(), 2);
    text << R"(, "cell_centres": [)";
    for (std::size_t i = 0; i < shape[0]; ++i)
      for (std::size_t j = 0; j < shape[1]; ++j) {
        const double u = 0.5 * (a[i] + a[i + 1]), v = 0.5 * (b[j] + b[j + 1]);
        const std::array<double, 3> centre{polar ? v * std::cos(u) : u, polar ? v * std::sin(u) : v, 0.5 * (z[0] + z[1])};
        if (i + j != 0) text << ", ";
        list(text, centre.data(), 3);
      }
    text << "]}";
  }

  std::string path_;
};

using ToyGenerator = hepgan::BasicGenerator<ToyNetwork>;

#endif  // HEPGAN_TESTS_TOY_NETWORK_HPP
