// The description in a model file (conditions, outputs, geometry), and the types that all generators share.
#ifndef HEPGAN_MODEL_HPP
#define HEPGAN_MODEL_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "hepgan/errors.hpp"
#include "hepgan/finite.hpp"
#include "hepgan/json.hpp"

namespace hepgan {

/// Newest schema of the metadata that this header can read.
inline constexpr std::size_t schema = 1;

/// Largest relative difference from the reference vectors that passes, if the metadata do not say another one.
inline constexpr double tolerance = 1e-5;

/// A view of consecutive numbers: of a vector, an array, a std::span, or of pointer and size.
template <class T>
class Span {
 public:
  Span() = default;
  Span(T* data, std::size_t size) : data_(data), size_(size) {}
  template <class Container, class = std::enable_if_t<std::is_convertible_v<decltype(std::data(std::declval<Container&>())), T*>>>
  Span(Container&& container) : data_(std::data(container)), size_(std::size(container)) {}
  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  T* begin() const { return data_; }
  T* end() const { return data_ + size_; }
  T& operator[](std::size_t k) const { return data_[k]; }
  double sum() const { return std::accumulate(begin(), end(), 0.0); }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A condition of the generator, and the range in which it was trained.
struct Condition {
  std::string name;
  std::string unit;
  bool logarithmic = false;  ///< the generator takes its logarithm, so it must be positive
  double low = 0;
  double high = 0;
  std::vector<std::pair<std::string, double>> categories;  ///< names and values; empty: any number from low to high

  /// Whether a value is in the trained range, or one of the categories.
  bool knows(const float& value) const {
    if (!detail::is_finite(value)) return false;
    const auto same = [&](const auto& category) { return value == static_cast<float>(category.second); };
    if (!categories.empty()) return std::any_of(categories.begin(), categories.end(), same);
    return value >= static_cast<float>(low) && value <= static_cast<float>(high);
  }
};

/// An output of the generator: one calorimeter layer, the overflow (one number per layer), or an observable of a track.
struct Output {
  std::string name;
  std::string unit;
  std::string role;  ///< "layer", "overflow" or "target"
  std::vector<std::size_t> shape;
  std::size_t offset = 0;     ///< place of its first number among all numbers of an event
  std::size_t size = 0;       ///< product of the shape
  double scale = 0;           ///< of a target: its typical size
  std::vector<double> atoms;  ///< of a target: values that occur exactly, such as a sentinel
};

/// A calorimeter layer. Lengths in mm. In "polar" layers x is the angle (rad) and y the radius; in "eta-phi" layers x is the
/// pseudorapidity and y the azimuth (rad), without lengths.
struct Layer {
  std::string name;
  std::array<std::size_t, 2> shape{};
  std::vector<double> x, y;   ///< edges of the cells: shape + 1 numbers each
  std::array<double, 2> z{};  ///< front and back
  std::string coordinates;  ///< "cartesian", "polar" or "eta-phi"
  std::vector<std::array<double, 3>> cell_centres;  ///< Cartesian, C order
};

/// The treatment of an event whose conditions are outside the trained range, or whose numbers are not finite.
enum class Action {
  fail,         ///< throw ConditionRangeError before anything is generated, or NotFiniteError
  clamp,        ///< move the condition to the nearest end of the range; counted
  extrapolate,  ///< generate the event outside the range; counted
  skip,         ///< set all numbers of the event to zero, so that full simulation can replace it; counted
};

/// A condition outside its trained range.
struct Excursion {
  std::size_t row;  ///< number of the event among those of the call
  const Condition& condition;
  float value;
};

/// Number of times that each action was taken since construction.
struct Counts {
  std::uint64_t clamped = 0, extrapolated = 0;  ///< conditions
  std::uint64_t skipped = 0;                    ///< events outside the trained range
  std::uint64_t not_finite = 0;                 ///< events with NaN or infinite numbers
};

/// Options of a generator.
struct Options {
  /// Path of the ONNX Runtime library. If empty: the environment variable HEPGAN_ONNXRUNTIME, then a runtime that the process
  /// has loaded, then the library's usual names on the loader's path.
  std::string runtime;
  /// "cpu", "cuda", or "cuda:N" for GPU N, counted from 0.
  std::string device = "cpu";
  /// Threads of ONNX Runtime in one call; 1 leaves the other cores to the framework's scheduler.
  int threads = 1;
  /// Action for conditions outside the trained range. For an unknown category only fail and skip are possible.
  Action out_of_range = Action::fail;
  /// Function that decides in place of out_of_range, called for each condition outside; it may note the event for full
  /// simulation.
  std::function<Action(const Excursion&)> on_excursion;
  /// Action for events with NaN or infinite numbers: fail or skip.
  Action not_finite = Action::fail;
  /// Compare with the reference vectors at construction.
  bool self_test = true;
  /// Events in one run of the network; 0: the network's choice. Bounds the memory; the activations of too many showers no
  /// longer fit into the processor's caches.
  std::size_t batch = 0;
};

/// Generated events: energies of showers, or observables of tracks. Access to an event or output that does not exist throws
/// LookupError.
class Events {
 public:
  Events(std::shared_ptr<const std::vector<Output>> outputs, std::size_t size, std::size_t width, std::size_t n_cells)
      : outputs_(std::move(outputs)), size_(size), width_(width), n_cells_(n_cells), values_(size * width) {}

  std::size_t size() const { return size_; }

  /// All numbers of all events, one event after the other.
  Span<float> values() { return values_; }

  /// All numbers of an event: its outputs one after the other, each in C order.
  Span<const float> values(std::size_t event) const { return {row(event), width_}; }

  /// All cells of a shower: layers one after the other, each in C order.
  Span<const float> cells(std::size_t event) const { return {row(event), n_cells_}; }

  /// One output of an event.
  Span<const float> output(std::size_t event, std::size_t index) const {
    if (index >= outputs_->size())
      throw LookupError("hepgan: output " + std::to_string(index) + " of " + std::to_string(outputs_->size()));
    const Output& output = (*outputs_)[index];
    return {row(event) + output.offset, output.size};
  }

  /// One output of an event, by name.
  Span<const float> output(std::size_t event, std::string_view name) const {
    for (std::size_t k = 0; k < outputs_->size(); ++k)
      if ((*outputs_)[k].name == name) return output(event, k);
    throw LookupError("hepgan: the model has no output '" + std::string(name) + "'");
  }

 private:
  const float* row(std::size_t event) const {
    if (event >= size_) throw LookupError("hepgan: event " + std::to_string(event) + " of " + std::to_string(size_));
    return values_.data() + event * width_;
  }

  std::shared_ptr<const std::vector<Output>> outputs_;
  std::size_t size_, width_, n_cells_;
  std::vector<float> values_;
};

using Showers = Events;
using Tracks = Events;

/// The description in a model file as typed values.
struct Model {
  json::Value metadata;
  std::vector<Condition> conditions;
  std::shared_ptr<const std::vector<Output>> outputs;
  std::vector<Layer> layers;
  std::string kind;  ///< "calorimeter" or "observables"
  std::string unit;  ///< of the energies of showers
  std::size_t latent = 0, width = 0, n_cells = 0;  ///< numbers of an event: latent numbers, outputs, cells
  double allowed = tolerance;  ///< largest relative difference from the reference vectors that passes

  /// Throw ModelFileError if a description comes from a newer hepgan.
  static void check_schema(const json::Value& metadata) {
    const std::size_t got = metadata.at("schema").count();
    if (got > schema)
      throw ModelFileError("expected metadata of schema " + std::to_string(schema) + " or older, got " + std::to_string(got) +
                           "; the file comes from a newer hepgan: take its header");
  }

  /// Read a description. Throws ModelFileError if a part is missing or of a wrong type, or if parts do not fit together.
  static Model understand(json::Value description) {
    check_schema(description);
    Model model;
    model.metadata = std::move(description);
    const json::Value& metadata = model.metadata;
    model.kind = metadata.at("kind").text();
    if (model.kind != "calorimeter" && model.kind != "observables")
      throw ModelFileError("metadata: kind: expected 'calorimeter' or 'observables', got '" + model.kind + "'");
    for (const json::Value& c : metadata.at("conditions").items()) model.conditions.push_back(condition(c));
    model.latent = small(metadata.at("latent").at("size"));
    model.read_outputs();
    if (const json::Value* reference = metadata.find("reference"))
      if (const json::Value* allowed = reference->find("tolerance")) model.allowed = allowed->real();
    if (model.kind == "calorimeter") model.read_layers();
    if (model.conditions.empty() || model.latent == 0 || model.width == 0)
      throw ModelFileError("metadata: expected conditions, latent numbers and outputs, got none of one of them");
    return model;
  }

  /// Largest relative difference between the numbers of an event, `got`, and the expected ones, `wanted`. Differences in an
  /// output are divided by its largest expected number, but at least by the target's scale, or by 1e-3 of the largest number
  /// of the shower.
  double difference(Span<const float> got, Span<const float> wanted) const {
    const auto magnitude = [](float a, float b) { return std::abs(a) < std::abs(b); };
    const auto largest = [&](std::size_t first, std::size_t size) {
      return std::abs(static_cast<double>(*std::max_element(wanted.data() + first, wanted.data() + first + size, magnitude)));
    };
    const double brightest = largest(0, width);
    double worst = 0;
    for (const Output& output : *outputs) {
      const double least = output.scale > 0 ? output.scale : 1e-3 * brightest;
      const double size = std::max({largest(output.offset, output.size), least, static_cast<double>(std::numeric_limits<float>::min())});
      for (std::size_t k = output.offset; k < output.offset + output.size; ++k) {
        if (!detail::is_finite(got[k])) return std::numeric_limits<double>::max();
        worst = std::max(worst, std::abs(static_cast<double>(got[k]) - static_cast<double>(wanted[k])) / size);
      }
    }
    return worst;
  }

  /// Largest relative difference between events and the outputs of the reference vectors.
  double difference(const Events& events) const {
    const json::Value& expected = metadata.at("reference").at("outputs");
    double worst = 0;
    for (std::size_t event = 0; event < events.size(); ++event) {
      std::vector<float> wanted;
      for (const Output& output : *outputs) {
        const auto& vectors = expected.at(output.name).items();
        if (event >= vectors.size()) throw ModelFileError("metadata: expected reference vectors of each output, got too few");
        const std::vector<float> values = numbers(vectors[event], output.size);
        wanted.insert(wanted.end(), values.begin(), values.end());
      }
      worst = std::max(worst, difference(events.values(event), wanted));
    }
    return worst;
  }

  /// Inputs of the reference vectors, "condition" or "latent", one event after the other.
  std::vector<float> reference(std::string_view name, std::size_t width_of_a_row) const {
    std::vector<float> result;
    for (const json::Value& row : metadata.at("reference").at(name).items()) {
      const std::vector<float> values = numbers(row, width_of_a_row);
      result.insert(result.end(), values.begin(), values.end());
    }
    if (result.empty()) throw ModelFileError("metadata: expected reference vectors, got none");
    return result;
  }

 private:
  static constexpr std::size_t most = 1U << 24U;  // numbers of an event: a file with more is damaged

  /// A whole number from 0 to `most`.
  static std::size_t small(const json::Value& value) {
    const std::size_t count = value.count();
    if (count > most) throw ModelFileError("metadata: expected at most " + std::to_string(most) + ", got " + std::to_string(count));
    return count;
  }

  static std::vector<float> numbers(const json::Value& row, std::size_t size) {
    std::vector<float> result;
    for (const json::Value& value : row.items()) result.push_back(static_cast<float>(value.real()));
    if (result.size() != size)
      throw ModelFileError("metadata: expected " + std::to_string(size) + " numbers in a reference vector, got " +
                           std::to_string(result.size()));
    return result;
  }

  static Condition condition(const json::Value& value) {
    const auto& range = value.at("range").items();
    if (range.size() != 2) throw ModelFileError("metadata: expected a range of two numbers");
    Condition result{value.at("name").text(), value.at("unit").text(), value.at("transform").text() == "log",
                     range[0].real(), range[1].real(), {}};
    if (const json::Value* categories = value.find("categories"))
      for (const auto& [name, number] : categories->members()) result.categories.emplace_back(name, number.real());
    if (result.low > result.high) throw ModelFileError("metadata: expected a range from low to high");
    return result;
  }

  void read_outputs() {
    auto read = std::make_shared<std::vector<Output>>();
    for (const json::Value& o : metadata.at("outputs").items()) {
      Output output{o.at("name").text(), o.at("unit").text(), o.at("role").text(), {}, width, 1, 0, {}};
      for (const json::Value& length : o.at("shape").items()) {
        output.shape.push_back(small(length));
        output.size *= output.shape.back();
        if (output.size > most) throw ModelFileError("metadata: outputs: expected a smaller shape");
      }
      if (output.shape.empty() || output.shape.size() > 2 || output.size == 0)
        throw ModelFileError("metadata: outputs: expected one or two dimensions with something in them");
      if (const json::Value* scale = o.find("scale")) output.scale = scale->real();
      if (const json::Value* atoms = o.find("atoms"))
        for (const json::Value& atom : atoms->items()) output.atoms.push_back(atom.real());
      width += output.size;
      if (width > most) throw ModelFileError("metadata: outputs: expected fewer numbers");
      if (output.role == "layer") {
        if (n_cells != output.offset) throw ModelFileError("metadata: outputs: expected the layers first");
        n_cells = width;
      }
      read->push_back(std::move(output));
    }
    outputs = std::move(read);
  }

  void read_layers() {
    const json::Value& geometry = metadata.at("geometry");
    unit = geometry.at("unit").text();
    std::size_t cells = 0;
    for (const json::Value& l : geometry.at("layers").items()) {
      layers.push_back(layer(l));
      cells += layers.back().cell_centres.size();
    }
    if (cells != n_cells || cells == 0)
      throw ModelFileError("metadata: geometry: expected the " + std::to_string(n_cells) + " cells of the outputs, got " +
                           std::to_string(cells));
  }

  static Layer layer(const json::Value& value) {
    Layer result;
    result.name = value.at("name").text();
    const auto &shape = value.at("shape").items(), &depth = value.at("z").items();
    if (shape.size() != 2 || depth.size() != 2) throw ModelFileError("metadata: geometry: expected two numbers in shape and z");
    for (std::size_t k = 0; k < 2; ++k) {
      result.shape[k] = small(shape[k]);
      result.z[k] = depth[k].real();
    }
    for (const json::Value& edge : value.at("x").items()) result.x.push_back(edge.real());
    for (const json::Value& edge : value.at("y").items()) result.y.push_back(edge.real());
    result.coordinates = value.at("coordinates").text();
    for (const json::Value& centre : value.at("cell_centres").items()) {
      const auto& place = centre.items();
      if (place.size() != 3) throw ModelFileError("metadata: geometry: expected three numbers in a cell's centre");
      result.cell_centres.push_back({place[0].real(), place[1].real(), place[2].real()});
    }
    if (result.x.size() != result.shape[0] + 1 || result.y.size() != result.shape[1] + 1 ||
        result.cell_centres.size() != result.shape[0] * result.shape[1])
      throw ModelFileError("metadata: geometry: expected edges and centres of " + std::to_string(result.shape[0]) + " x " +
                           std::to_string(result.shape[1]) + " cells in layer '" + result.name + "'");
    return result;
  }
};

namespace detail {

/// A number with six digits, for messages.
template <class Float>
std::string short_number(const Float& value) {
  if (is_nan(value)) return "nan";
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g", static_cast<double>(value));
  return text.data();
}

}  // namespace detail

}  // namespace hepgan

#endif  // HEPGAN_MODEL_HPP
