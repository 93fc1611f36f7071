// Showers or tracks from a hepgan model file (.onnx), for frameworks in C++17. Header-only.
//
//   hepgan::Generator generator("model.onnx");
//   std::mt19937_64 engine(1);
//   hepgan::Showers showers = generator.generate({10.0F}, engine);  // one shower of 10 GeV
//   for (float energy : showers.output(0, "layer_1")) ...            // MeV, C order
//
//   hepgan::Generator kaons("rich.onnx");
//   hepgan::Tracks tracks = kaons.generate({30e3F, 3.5F, 150.0F}, engine);  // momentum, pseudorapidity, occupancy
//   float dll_k = tracks.output(0, "RichDLLk")[0];
//
// The file says of itself which conditions it takes, in which units and ranges, and where the cells are. ONNX Runtime
// is loaded at run time through its C interface: nothing is linked, so that one binary works with every version
// since 1.15, and with the one that the framework may have loaded already.
#pragma once

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(_WIN32)
#error "hepgan: loading ONNX Runtime at run time is written for POSIX systems (dlopen)"
#endif
#include <dlfcn.h>

#include "hepgan/json.hpp"

namespace hepgan {

/// Newest schema of the metadata that this header understands.
inline constexpr std::size_t schema = 1;

/// Largest relative difference from the reference vectors, see Generator::self_test().
inline constexpr double tolerance = 1e-5;

/// An input of the generator, and where it was trained.
struct Condition {
  std::string name;
  std::string unit;
  bool logarithmic = false;
  double low = 0;
  double high = 0;
  std::vector<std::pair<std::string, double>> categories;  ///< name and value of each; empty: any number from low to high
};

/// An output of the generator: one calorimeter layer, the overflow (one number a layer), or an observable of a track.
struct Output {
  std::string name;
  std::string unit;
  std::string role;  ///< "layer", "overflow" or "target"
  std::vector<std::size_t> shape;
  std::size_t offset = 0;  ///< place in the flat numbers of an event
  std::size_t size = 0;
  double scale = 0;           ///< of a target: its typical size
  std::vector<double> atoms;  ///< of a target: values that occur exactly, such as a sentinel
};

/// A calorimeter layer. Lengths in mm; in polar layers x is the angle (rad) and y the radius.
struct Layer {
  std::string name;
  std::array<std::size_t, 2> shape{};
  std::vector<double> x, y;  ///< edges: shape + 1 numbers each
  std::array<double, 2> z{};
  bool polar = false;
  std::vector<std::array<double, 3>> cell_centres;  ///< Cartesian, C order
};

/// Consecutive numbers that somebody else owns.
class Span {
 public:
  Span(const float* data, std::size_t size) : data_(data), size_(size) {}
  const float* data() const { return data_; }
  std::size_t size() const { return size_; }
  const float* begin() const { return data_; }
  const float* end() const { return data_ + size_; }
  float operator[](std::size_t k) const { return data_[k]; }
  double sum() const { return std::accumulate(begin(), end(), 0.0); }

 private:
  const float* data_;
  std::size_t size_;
};

/// What was generated: energies of showers, or observables of tracks.
class Events {
 public:
  std::size_t size() const { return size_; }

  /// All numbers of an event: its outputs one after the other, each in C order.
  Span values(std::size_t event) const { return {row(event), width_}; }

  /// All cells of a shower: layers one after the other, each in C order.
  Span cells(std::size_t event) const { return {row(event), n_cells_}; }

  /// One output of an event.
  Span output(std::size_t event, std::size_t index) const {
    const Output& which = outputs_->at(index);
    return {row(event) + which.offset, which.size};
  }

  /// One output of an event, by name. Throws std::out_of_range if there is none.
  Span output(std::size_t event, std::string_view name) const {
    for (std::size_t k = 0; k < outputs_->size(); ++k)
      if ((*outputs_)[k].name == name) return output(event, k);
    throw std::out_of_range("hepgan: the model has no output '" + std::string(name) + "'");
  }

 private:
  friend class Generator;
  const float* row(std::size_t event) const {
    if (event >= size_) throw std::out_of_range("hepgan: event " + std::to_string(event) + " of " + std::to_string(size_));
    return values_.data() + event * width_;
  }

  std::shared_ptr<const std::vector<Output>> outputs_;
  std::size_t size_ = 0, width_ = 0, n_cells_ = 0;
  std::vector<float> values_;
};

using Showers = Events;
using Tracks = Events;

/// What a Generator is made with.
struct Options {
  /// The ONNX Runtime library; empty: the environment variable HEPGAN_ONNXRUNTIME, then a runtime that the process
  /// has loaded, then the usual names in the usual places.
  std::string runtime;
  /// Threads of one call; 1 leaves the cores to the framework's scheduler.
  int threads = 1;
  /// Accept conditions outside the trained range.
  bool extrapolate = false;
  /// Events in one run of the network: bounds the memory, and with more showers their activations leave the cache.
  /// 0: 128 showers, or 1024 tracks.
  std::size_t batch = 0;
};

namespace detail {

/// The ONNX Runtime library, loaded at run time.
class Runtime {
 public:
  explicit Runtime(const std::string& path) {
    void* symbol = nullptr;
    std::string tried;
    const auto open = [&](const std::string& name) {
      // never closed: the runtime keeps threads and static objects
      void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library != nullptr) symbol = dlsym(library, "OrtGetApiBase");
      if (symbol == nullptr) {
        const char* reason = dlerror();
        tried += "\n  " + name + ": " + (reason != nullptr ? reason : "no OrtGetApiBase in it");
      }
    };
    const char* variable = std::getenv("HEPGAN_ONNXRUNTIME");
    if (!path.empty()) {
      open(path);
    } else if (variable != nullptr && *variable != '\0') {
      open(variable);
    } else {
      symbol = dlsym(RTLD_DEFAULT, "OrtGetApiBase");
#if defined(__APPLE__)
      for (const char* name : {"libonnxruntime.dylib", "libonnxruntime.1.dylib"})
#else
      for (const char* name : {"libonnxruntime.so.1", "libonnxruntime.so"})
#endif
        if (symbol == nullptr) open(name);
    }
    if (symbol == nullptr)
      throw std::runtime_error("hepgan: ONNX Runtime could not be loaded; set HEPGAN_ONNXRUNTIME (or Options::runtime) to "
                               "libonnxruntime.so.1; tried:" + tried);
    const OrtApiBase* (*base)() = nullptr;
    static_assert(sizeof(base) == sizeof(symbol));
    std::memcpy(&base, &symbol, sizeof(base));  // object pointer to function pointer, as POSIX allows
    version = base()->GetVersionString();
    for (std::uint32_t api_version = ORT_API_VERSION; api_version >= oldest_api && api == nullptr; --api_version) {
      if (!answers(version, api_version)) continue;  // asking for too new a version prints a warning
      api = base()->GetApi(api_version);
    }
    if (api == nullptr)
      throw std::runtime_error("hepgan: expected ONNX Runtime 1." + std::to_string(oldest_api) + " or newer, got " + version);
  }

  /// Turn an error of the runtime into an exception.
  void check(OrtStatus* status) const {
    if (status == nullptr) return;
    const std::string message = api->GetErrorMessage(status);
    api->ReleaseStatus(status);
    throw std::runtime_error("hepgan: ONNX Runtime: " + message);
  }

  const OrtApi* api = nullptr;
  std::string version;

 private:
  static constexpr std::uint32_t oldest_api = 15;

  static bool answers(const std::string& version, std::uint32_t api_version) {
    unsigned major = 0, minor = 0;
    if (std::sscanf(version.c_str(), "%u.%u", &major, &minor) != 2) return true;
    return major > 1 || api_version <= minor;
  }
};

template <class T>
using Handle = std::unique_ptr<T, void (*)(T*)>;

inline std::string short_number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g", value);
  return text.data();
}

}  // namespace detail

/// A generator in a model file. Immutable after construction: many threads may share one and call it at the same time.
class Generator {
 public:
  /// Load a model.
  ///
  /// Throws std::runtime_error if there is no such file, if it is not a hepgan model, comes from a newer hepgan, or if
  /// ONNX Runtime cannot be loaded.
  explicit Generator(const std::string& path, Options options = {}) : path_(path), options_(std::move(options)) {
    const std::string content = read(path);
    runtime_ = std::make_unique<detail::Runtime>(options_.runtime);
    const OrtApi& api = *runtime_->api;

    OrtEnv* environment = nullptr;
    check(api.CreateEnv(ORT_LOGGING_LEVEL_ERROR, "hepgan", &environment));
    environment_ = {environment, api.ReleaseEnv};
    OrtSessionOptions* settings = nullptr;
    check(api.CreateSessionOptions(&settings));
    const detail::Handle<OrtSessionOptions> owned{settings, api.ReleaseSessionOptions};
    check(api.SetIntraOpNumThreads(settings, options_.threads));
    check(api.SetInterOpNumThreads(settings, 1));
    check(api.SetSessionExecutionMode(settings, ORT_SEQUENTIAL));
    OrtSession* session = nullptr;
    try {
      check(api.CreateSessionFromArray(environment, content.data(), content.size(), settings, &session));
    } catch (const std::runtime_error& error) {
      throw std::runtime_error("hepgan: " + path + ": not an ONNX file, or damaged (" + error.what() + ")");
    }
    session_ = {session, api.ReleaseSession};
    OrtMemoryInfo* memory = nullptr;
    check(api.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    memory_ = {memory, api.ReleaseMemoryInfo};
    const std::string text = metadata_text();
    try {
      understand(json::parse(text));
    } catch (const std::runtime_error& error) {
      throw std::runtime_error("hepgan: " + path + ": " + error.what());
    }
    // The runtime lays out its memory in the first run and keeps that for every number of rows: laid out for many,
    // it is a quarter slower on one.
    const std::vector<float> ones(conditions_.size(), 1.0F), zeros(latent_);
    std::vector<float> ignored(width_);
    run(ones.data(), zeros.data(), 1, ignored.data());
  }

  const std::vector<Condition>& conditions() const { return conditions_; }
  const std::vector<Output>& outputs() const { return *outputs_; }
  const std::vector<Layer>& layers() const { return layers_; }
  /// "calorimeter" (showers) or "observables" (tracks).
  const std::string& kind() const { return metadata_.at("kind").text(); }
  /// What an event is called: "shower" or "track".
  const char* row() const { return layers_.empty() ? "track" : "shower"; }
  /// Standard normal numbers that one event takes.
  std::size_t latent_size() const { return latent_; }
  /// Cells of a shower; 0 for tracks.
  std::size_t n_cells() const { return n_cells_; }
  /// Unit of the energies of showers; targets have their own.
  const std::string& unit() const { return unit_; }
  /// The whole description in the file: provenance, metrics, how the training data were read, ...
  const json::Value& metadata() const { return metadata_; }
  const std::string& runtime_version() const { return runtime_->version; }

  /// Generate events.
  ///
  /// conditions: number of events x conditions().size(), in the units of conditions().
  /// latent: number of events x latent_size(), standard normal, from the caller's engine.
  ///
  /// Throws std::invalid_argument if the sizes do not fit, a condition is outside its trained range, or a category is
  /// not known.
  Events generate(const std::vector<float>& conditions, const std::vector<float>& latent) const {
    const std::size_t n = rows(conditions);
    if (latent.size() != n * latent_)
      throw std::invalid_argument("hepgan: latent: expected " + std::to_string(n) + " x " + std::to_string(latent_) +
                                  " numbers, got " + std::to_string(latent.size()) + "; give one row a " + row());
    check_range(conditions);
    Events events = empty(n);
    for (std::size_t start = 0; start < n; start += step())
      run(conditions.data() + start * conditions_.size(), latent.data() + start * latent_, std::min(step(), n - start),
          events.values_.data() + start * events.width_);
    return events;
  }

  /// Generate events with a random engine such as std::mt19937_64; memory is bounded by the batch and the result.
  template <class Engine, class = std::enable_if_t<std::is_invocable_v<Engine&>>>
  Events generate(const std::vector<float>& conditions, Engine& engine) const {
    const std::size_t n = rows(conditions);
    check_range(conditions);
    Events events = empty(n);
    std::normal_distribution<float> normal;
    std::vector<float> latent(std::min(step(), n) * latent_);
    for (std::size_t start = 0; start < n; start += step()) {
      const std::size_t count = std::min(step(), n - start);
      std::generate_n(latent.begin(), count * latent_, [&] { return normal(engine); });
      run(conditions.data() + start * conditions_.size(), latent.data(), count,
          events.values_.data() + start * events.width_);
    }
    return events;
  }

  /// Largest relative difference between what this machine computes and the reference vectors in the file; the model is
  /// sound if it is at most `tolerance`. In each output of an event the difference is divided by the output's largest
  /// number, or by a smallest size if that is more: the target's scale, or 1e-3 of the shower's largest number.
  double self_test() const {
    const json::Value& reference = metadata_.at("reference");
    std::vector<float> conditions, latent;
    for (const json::Value& row : reference.at("condition").items()) append(conditions, row);
    for (const json::Value& row : reference.at("latent").items()) append(latent, row);
    const Events events = generate(conditions, latent);
    const json::Value& expected = reference.at("outputs");
    double worst = 0;
    for (std::size_t event = 0; event < events.size(); ++event) {
      std::vector<std::vector<float>> wanted(outputs_->size());
      std::vector<double> largest(outputs_->size());
      for (std::size_t k = 0; k < outputs_->size(); ++k) {
        append(wanted[k], expected.at((*outputs_)[k].name).items().at(event));
        if (wanted[k].size() != (*outputs_)[k].size) throw std::runtime_error("hepgan: " + path_ + ": damaged reference vectors");
        for (const float value : wanted[k]) largest[k] = std::max(largest[k], std::abs(static_cast<double>(value)));
      }
      const double brightest = *std::max_element(largest.begin(), largest.end());
      for (std::size_t k = 0; k < outputs_->size(); ++k) {
        const Span got = events.output(event, k);
        const double least = (*outputs_)[k].scale > 0 ? (*outputs_)[k].scale : 1e-3 * brightest;
        const double scale = std::max({largest[k], least, static_cast<double>(std::numeric_limits<float>::min())});
        for (std::size_t i = 0; i < got.size(); ++i) {
          const double difference = std::abs(static_cast<double>(got[i]) - static_cast<double>(wanted[k][i])) / scale;
          if (!(difference <= worst)) worst = difference;  // NaN counts
        }
      }
    }
    return worst;
  }

 private:
  void check(OrtStatus* status) const { runtime_->check(status); }

  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("hepgan: model not found: " + path);
    try {
      return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    } catch (const std::ios_base::failure&) {
      throw std::runtime_error("hepgan: " + path + ": expected a .onnx file, got a folder or something unreadable");
    }
  }

  std::string metadata_text() const {
    const OrtApi& api = *runtime_->api;
    OrtModelMetadata* raw = nullptr;
    check(api.SessionGetModelMetadata(session_.get(), &raw));
    const detail::Handle<OrtModelMetadata> metadata{raw, api.ReleaseModelMetadata};
    OrtAllocator* allocator = nullptr;
    check(api.GetAllocatorWithDefaultOptions(&allocator));
    char* text = nullptr;
    check(api.ModelMetadataLookupCustomMetadataMap(raw, allocator, "hepgan", &text));
    if (text == nullptr)
      throw std::runtime_error("hepgan: " + path_ + ": an ONNX file, but not one of hepgan: expected the metadata entry "
                               "'hepgan', got none; name a file that hepgan export wrote");
    std::string result = text;
    check(api.AllocatorFree(allocator, text));
    return result;
  }

  void understand(json::Value metadata) {
    metadata_ = std::move(metadata);
    const std::size_t got = metadata_.at("schema").count();
    if (got > schema)
      throw std::runtime_error("expected metadata of schema " + std::to_string(schema) + " or older, got " + std::to_string(got) +
                               "; the file comes from a newer hepgan: take its header");
    for (const json::Value& c : metadata_.at("conditions").items()) {
      const auto& range = c.at("range").items();
      if (range.size() != 2) throw std::runtime_error("metadata: expected a range of two numbers");
      conditions_.push_back({c.at("name").text(), c.at("unit").text(), c.at("transform").text() == "log", range[0].real(),
                             range[1].real(), {}});
      if (const json::Value* categories = c.find("categories"))
        for (const auto& [name, value] : categories->members()) conditions_.back().categories.emplace_back(name, value.real());
    }
    latent_ = metadata_.at("latent").at("size").count();
    auto outputs = std::make_shared<std::vector<Output>>();
    std::size_t offset = 0;
    for (const json::Value& o : metadata_.at("outputs").items()) {
      Output output{o.at("name").text(), o.at("unit").text(), o.at("role").text(), {}, offset, 1, 0, {}};
      for (const json::Value& length : o.at("shape").items()) {
        output.shape.push_back(length.count());
        output.size *= output.shape.back();
      }
      if (output.shape.size() > deepest) throw std::runtime_error("metadata: expected outputs of at most 3 dimensions");
      if (const json::Value* scale = o.find("scale")) output.scale = scale->real();
      if (const json::Value* atoms = o.find("atoms"))
        for (const json::Value& atom : atoms->items()) output.atoms.push_back(atom.real());
      offset += output.size;
      if (output.role == "layer") n_cells_ = offset;
      outputs->push_back(std::move(output));
    }
    outputs_ = std::move(outputs);
    for (const Output& output : *outputs_) names_.push_back(output.name.c_str());
    width_ = offset;
    if (kind() == "calorimeter") {
      const json::Value& geometry = metadata_.at("geometry");
      unit_ = geometry.at("unit").text();
      for (const json::Value& l : geometry.at("layers").items()) layers_.push_back(layer(l));
    } else if (kind() != "observables") {
      throw std::runtime_error("metadata: kind: expected 'calorimeter' or 'observables', got '" + kind() + "'");
    }
    read_batch();
  }

  static Layer layer(const json::Value& value) {
    Layer result;
    result.name = value.at("name").text();
    for (std::size_t k = 0; k < 2; ++k) {
      result.shape[k] = value.at("shape").items().at(k).count();
      result.z[k] = value.at("z").items().at(k).real();
    }
    for (const json::Value& edge : value.at("x").items()) result.x.push_back(edge.real());
    for (const json::Value& edge : value.at("y").items()) result.y.push_back(edge.real());
    result.polar = value.at("coordinates").text() == "polar";
    for (const json::Value& centre : value.at("cell_centres").items())
      result.cell_centres.push_back(
          {centre.items().at(0).real(), centre.items().at(1).real(), centre.items().at(2).real()});
    return result;
  }

  /// The graph's batch size, if it is fixed.
  void read_batch() {
    const OrtApi& api = *runtime_->api;
    OrtTypeInfo* raw = nullptr;
    check(api.SessionGetInputTypeInfo(session_.get(), 0, &raw));
    const detail::Handle<OrtTypeInfo> info{raw, api.ReleaseTypeInfo};
    const OrtTensorTypeAndShapeInfo* shape = nullptr;
    check(api.CastTypeInfoToTensorInfo(raw, &shape));
    std::array<std::int64_t, 2> dimensions{};
    if (shape == nullptr) throw std::runtime_error("metadata: the first input is not a tensor");
    check(api.GetDimensions(shape, dimensions.data(), dimensions.size()));
    if (dimensions[0] > 0) fixed_ = static_cast<std::size_t>(dimensions[0]);
  }

  std::size_t step() const { return fixed_ != 0 ? fixed_ : options_.batch != 0 ? options_.batch : layers_.empty() ? 1024 : 128; }

  std::size_t rows(const std::vector<float>& conditions) const {
    if (conditions.empty() || conditions.size() % conditions_.size() != 0)
      throw std::invalid_argument("hepgan: conditions: expected a multiple of " + std::to_string(conditions_.size()) +
                                  " numbers, got " + std::to_string(conditions.size()) + "; give one row a " + row());
    return conditions.size() / conditions_.size();
  }

  void check_range(const std::vector<float>& values) const {
    const std::size_t width = conditions_.size();
    for (std::size_t k = 0; k < values.size(); ++k) {
      const Condition& c = conditions_[k % width];
      const float value = values[k];
      const bool possible = std::isfinite(value) && (value > 0 || !c.logarithmic);
      const std::string unit = c.unit.empty() ? "" : " " + c.unit;
      std::string expected, remedy;
      if (!c.categories.empty()) {
        const auto same = [&](const auto& category) { return value == static_cast<float>(category.second); };
        if (std::any_of(c.categories.begin(), c.categories.end(), same)) continue;
        for (const auto& [name, number] : c.categories)
          expected += (expected.empty() ? "one of " : ", ") + name + " = " + detail::short_number(number);
        remedy = "the generator was trained with no other";
      } else {
        if (value >= static_cast<float>(c.low) && value <= static_cast<float>(c.high)) continue;
        if (possible && options_.extrapolate) continue;
        expected = detail::short_number(c.low) + " to " + detail::short_number(c.high) + unit + " (the trained range)";
        remedy = possible ? "stay inside, or accept extrapolation with --extrapolate (in code: option extrapolate)"
                          : "extrapolation needs a finite number, and a positive one where the logarithm is taken";
      }
      throw std::invalid_argument("condition '" + c.name + "': expected " + expected + ", got " +
                                  detail::short_number(static_cast<double>(value)) + unit + " in row " +
                                  std::to_string(k / width) + "; " + remedy);
    }
  }

  Events empty(std::size_t n) const {
    Events events;
    events.outputs_ = outputs_;
    events.size_ = n;
    events.width_ = width_;
    events.n_cells_ = n_cells_;
    events.values_.resize(n * width_);
    return events;
  }

  /// Run the network on `count` rows; a fixed batch is filled up with copies of the last row.
  void run(const float* conditions, const float* latent, std::size_t count, float* result) const {
    std::vector<float> filled_conditions, filled_latent;
    std::size_t n = count;
    if (fixed_ != 0 && count < fixed_) {
      n = fixed_;
      conditions = filled(filled_conditions, conditions, count, conditions_.size());
      latent = filled(filled_latent, latent, count, latent_);
    }
    const float* const inputs[] = {conditions, latent};
    const std::size_t widths[] = {conditions_.size(), latent_};
    // the graph writes to where the caller wants it, if there is one row, and else one output after the other
    std::vector<float> columns(n == 1 ? 0 : n * width_);
    float* const place = n == 1 ? result : columns.data();
    std::vector<detail::Handle<OrtValue>> owned;
    std::vector<OrtValue*> values;
    owned.reserve(2 + outputs_->size());
    for (std::size_t k = 0; k < 2; ++k)  // the runtime does not write to inputs
      owned.push_back(tensor(const_cast<float*>(inputs[k]), n, widths[k], &widths[k], 1));
    for (const Output& output : *outputs_)
      owned.push_back(tensor(place + n * output.offset, n, output.size, output.shape.data(), output.shape.size()));
    for (const auto& value : owned) values.push_back(value.get());
    const std::array<const char*, 2> names{"condition", "latent"};
    check(runtime_->api->Run(session_.get(), nullptr, names.data(), values.data(), 2, names_.data(), names_.size(), values.data() + 2));
    if (n == 1) return;
    for (const Output& output : *outputs_)
      for (std::size_t event = 0; event < count; ++event)
        std::copy_n(place + n * output.offset + event * output.size, output.size, result + event * width_ + output.offset);
  }

  /// A view of n rows of numbers in somebody else's memory.
  detail::Handle<OrtValue> tensor(float* data, std::size_t n, std::size_t size, const std::size_t* shape, std::size_t depth) const {
    std::array<std::int64_t, 1 + deepest> lengths{static_cast<std::int64_t>(n)};
    std::copy_n(shape, depth, lengths.begin() + 1);
    OrtValue* value = nullptr;
    check(runtime_->api->CreateTensorWithDataAsOrtValue(memory_.get(), data, n * size * sizeof(float), lengths.data(), 1 + depth,
                                                        ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value));
    return {value, runtime_->api->ReleaseValue};
  }

  const float* filled(std::vector<float>& buffer, const float* rows, std::size_t count, std::size_t width) const {
    buffer.assign(rows, rows + count * width);
    while (buffer.size() < fixed_ * width) buffer.insert(buffer.end(), rows + (count - 1) * width, rows + count * width);
    return buffer.data();
  }

  static void append(std::vector<float>& target, const json::Value& row) {
    for (const json::Value& value : row.items()) target.push_back(static_cast<float>(value.real()));
  }

  template <class T>
  static detail::Handle<T> none() {
    return {nullptr, [](T*) {}};
  }

  static constexpr std::size_t deepest = 3;  // dimensions of an output

  std::string path_;
  Options options_;
  std::unique_ptr<detail::Runtime> runtime_;
  detail::Handle<OrtEnv> environment_ = none<OrtEnv>();
  detail::Handle<OrtSession> session_ = none<OrtSession>();
  detail::Handle<OrtMemoryInfo> memory_ = none<OrtMemoryInfo>();
  json::Value metadata_;
  std::vector<Condition> conditions_;
  std::shared_ptr<const std::vector<Output>> outputs_;
  std::vector<const char*> names_;
  std::vector<Layer> layers_;
  std::string unit_;
  std::size_t latent_ = 0, width_ = 0, n_cells_ = 0, fixed_ = 0;
};

}  // namespace hepgan
