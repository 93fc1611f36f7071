// The network of a generator on ONNX Runtime. The library is loaded at run time through its C interface: nothing is linked, and
// one binary works with every version since 1.15, also with one that the framework has loaded already.
#ifndef HEPGAN_ONNXRUNTIME_HPP
#define HEPGAN_ONNXRUNTIME_HPP

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#if defined(_WIN32)
#error "hepgan: loading ONNX Runtime at run time is written for POSIX systems (dlopen)"
#endif
#include <dlfcn.h>

#include "hepgan/basic_generator.hpp"
#include "hepgan/errors.hpp"
#include "hepgan/json.hpp"
#include "hepgan/model.hpp"
#include "hepgan/onnxfile.hpp"

namespace hepgan::detail {

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
      throw RuntimeLibraryError("hepgan: ONNX Runtime could not be loaded; set HEPGAN_ONNXRUNTIME (or Options::runtime) to "
                                "libonnxruntime.so.1; tried:" + tried);
    const OrtApiBase* (*base)() = nullptr;
    static_assert(sizeof(base) == sizeof(symbol));
    std::memcpy(&base, &symbol, sizeof(base));  // object pointer to function pointer, as POSIX allows
    version = base()->GetVersionString();
    for (std::uint32_t api_version = ORT_API_VERSION; api_version >= oldest_api && api == nullptr; --api_version) {
      if (!offers(version, api_version)) continue;  // the runtime prints a warning if asked for a version that it lacks
      api = base()->GetApi(api_version);
    }
    if (api == nullptr)
      throw RuntimeLibraryError("hepgan: expected ONNX Runtime 1." + std::to_string(oldest_api) + " or newer, got " + version);
  }

  /// Throw RuntimeLibraryError if a call of the runtime failed.
  void check(OrtStatus* status) const {
    if (status == nullptr) return;
    const std::string message = api->GetErrorMessage(status);
    api->ReleaseStatus(status);
    throw RuntimeLibraryError("ONNX Runtime: " + message);
  }

  const OrtApi* api = nullptr;
  std::string version;

 private:
  static constexpr std::uint32_t oldest_api = 15;

  /// Whether a version of the library has a version of the C interface.
  static bool offers(const std::string& version, std::uint32_t api_version) {
    unsigned major = 0, minor = 0;
    if (std::sscanf(version.c_str(), "%u.%u", &major, &minor) != 2) return true;
    return major > 1 || api_version <= minor;
  }
};

template <class T>
using Handle = std::unique_ptr<T, void (*)(T*)>;

/// The graph of a model file, in one session that all threads share.
class OnnxNetwork {
 public:
  OnnxNetwork(const std::string& path, const Options& options) : options_(options) {
    const std::string content = read(path);
    description_ = description(path, content);
    runtime_ = std::make_unique<Runtime>(options.runtime);
    const OrtApi& api = *runtime_->api;
    name_file(path, [&] {
      OrtEnv* environment = nullptr;
      check(api.CreateEnv(ORT_LOGGING_LEVEL_FATAL, "hepgan", &environment));
      environment_ = {environment, api.ReleaseEnv};
      OrtSessionOptions* settings = nullptr;
      check(api.CreateSessionOptions(&settings));
      const Handle<OrtSessionOptions> owned{settings, api.ReleaseSessionOptions};
      check(api.SetIntraOpNumThreads(settings, options.threads));
      check(api.SetInterOpNumThreads(settings, 1));
      check(api.SetSessionExecutionMode(settings, ORT_SEQUENTIAL));
      choose_device(settings);
      OrtSession* session = nullptr;
      check(api.CreateSessionFromArray(environment_.get(), content.data(), content.size(), settings, &session));
      session_ = {session, api.ReleaseSession};
      OrtMemoryInfo* memory = nullptr;
      check(api.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
      memory_ = {memory, api.ReleaseMemoryInfo};
    });
  }

  /// The description in the file; moved out, so call it once.
  json::Value describe() { return std::move(description_); }
  std::string runtime() const { return "ONNX Runtime " + runtime_->version; }
  std::size_t batch() const { return fixed_ != 0 ? fixed_ : n_cells_ == 0 ? 1024 : 128; }

  /// Compare inputs and outputs of the graph with the description, so that every buffer is large enough.
  void prepare(const Model& model) {
    const OrtApi& api = *runtime_->api;
    n_cells_ = model.n_cells;
    outputs_ = model.outputs;
    width_ = model.width;
    std::size_t inputs = 0, outputs = 0;
    check(api.SessionGetInputCount(session_.get(), &inputs));
    check(api.SessionGetOutputCount(session_.get(), &outputs));
    if (inputs != 2 || outputs != outputs_->size())
      throw ModelFileError("metadata: expected the graph's 2 inputs and " + std::to_string(outputs_->size()) + " outputs, got " +
                           std::to_string(inputs) + " and " + std::to_string(outputs));
    const std::vector<std::size_t> n_conditions{model.conditions.size()}, n_latent{model.latent};
    widths_ = {n_conditions[0], n_latent[0]};
    input(0, "condition", n_conditions);
    input(1, "latent", n_latent);
    for (std::size_t k = 0; k < outputs; ++k) {
      OrtTypeInfo* type = nullptr;
      check(api.SessionGetOutputTypeInfo(session_.get(), k, &type));
      compare(type, name(k, api.SessionGetOutputName), (*outputs_)[k].name, (*outputs_)[k].shape);
      names_.push_back((*outputs_)[k].name.c_str());
    }
    // The runtime lays out its memory in the first run and keeps this layout. A layout for many events makes a single event
    // a quarter slower, so the first run has one event.
    std::vector<float> condition, latent(model.latent), ignored(model.width);
    for (const Condition& c : model.conditions) condition.push_back(static_cast<float>(c.low));
    run(condition.data(), latent.data(), 1, ignored.data());
  }

  /// Compute `count` events. A graph of a fixed batch size gets copies of the last event in the places that are left.
  void run(const float* conditions, const float* latent, std::size_t count, float* result) const {
    if (count == 0) return;
    if (fixed_ != 0 && count > fixed_) {
      for (std::size_t start = 0; start < count; start += fixed_)
        run(conditions + start * widths_[0], latent + start * widths_[1], std::min(fixed_, count - start), result + start * width_);
      return;
    }
    const std::size_t n = fixed_ != 0 ? fixed_ : count;
    const auto binding = pool_.borrow([&](const Binding& b) { return b.size == n; }, [&] { return bind(n); });
    fill(binding->numbers.data(), conditions, count, n, widths_[0]);
    fill(binding->numbers.data() + n * widths_[0], latent, count, n, widths_[1]);
    const std::array<const char*, 2> names{"condition", "latent"};
    check(runtime_->api->Run(session_.get(), nullptr, names.data(), binding->values.data(), 2, names_.data(), names_.size(),
                             binding->values.data() + 2));
    const float* const columns = binding->numbers.data() + n * (widths_[0] + widths_[1]);
    for (const Output& output : *outputs_)
      for (std::size_t event = 0; event < count; ++event)
        std::copy_n(columns + n * output.offset + event * output.size, output.size, result + event * width_ + output.offset);
  }

 private:
  /// Memory for a number of events, and the runtime's tensors in it: inputs, then outputs, one after the other.
  struct Binding {
    std::size_t size;
    std::vector<float> numbers;
    std::vector<Handle<OrtValue>> owned;
    std::vector<OrtValue*> values;
  };

  void check(OrtStatus* status) const { runtime_->check(status); }

  static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw NotFoundError("hepgan: model not found: " + path);
    std::string content;
    try {
      content = {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    } catch (const std::ios_base::failure&) {
      file.setstate(std::ios::badbit);
    }
    if (file.bad()) throw ModelFileError("hepgan: " + path + ": expected a .onnx file, got a folder or something unreadable");
    return content;
  }

  /// The description in the file's bytes. Checks first that weights and graph are as hepgan wrote them, so that the runtime
  /// never reads an altered file.
  static json::Value description(const std::string& path, const std::string& content) {
    const auto opened = [&] {
      try {
        return OnnxFile(content);
      } catch (const ModelFileError& error) {
        throw ModelFileError("hepgan: " + path + ": not an ONNX file, or damaged (" + error.what() + "); copy or export it again");
      }
    };
    const OnnxFile file = opened();
    if (!file.description())
      throw ModelFileError("hepgan: " + path + ": an ONNX file, but not one of hepgan: expected the metadata entry 'hepgan', got "
                           "none; name a file that hepgan export wrote");
    return name_file(path, [&] {
      json::Value description = json::parse(*file.description());
      Model::check_schema(description);
      const auto compare = [&](const char* what, const std::string& expected, const std::string& got) {
        if (expected != got)
          throw ModelFileError(std::string("the ") + what + " altered: expected sha256 " + expected.substr(0, 16) + "..., got " +
                               got.substr(0, 16) + "...; take the original file or export it again");
      };
      compare("weights were", description.at("weights_sha256").text(), file.weights());
      compare("graph was", description.at("content_sha256").text(), file.content());
      return description;
    });
  }

  void choose_device(OrtSessionOptions* settings) const {
    const std::string& device = options_.device;
    if (device == "cpu") return;
    const std::string number = device.rfind("cuda:", 0) == 0 ? device.substr(5) : "0";
    if ((device != "cuda" && device.rfind("cuda:", 0) != 0) || number.empty() || number.find_first_not_of("0123456789") != std::string::npos)
      throw RuntimeLibraryError("device: expected 'cpu', 'cuda' or 'cuda:N', got '" + device + "'");
    const OrtApi& api = *runtime_->api;
    OrtCUDAProviderOptionsV2* cuda = nullptr;
    try {
      check(api.CreateCUDAProviderOptions(&cuda));
      const Handle<OrtCUDAProviderOptionsV2> owned{cuda, api.ReleaseCUDAProviderOptions};
      const char *key = "device_id", *value = number.c_str();
      check(api.UpdateCUDAProviderOptions(cuda, &key, &value, 1));
      check(api.SessionOptionsAppendExecutionProvider_CUDA_V2(settings, cuda));
    } catch (const RuntimeLibraryError& error) {
      throw RuntimeLibraryError("device: expected a GPU and ONNX Runtime with CUDA for '" + device + "' (" + error.what() +
                                "); take the GPU build of ONNX Runtime, or the device 'cpu'");
    }
  }

  template <class Get>
  std::string name(std::size_t k, Get get) const {
    OrtAllocator* allocator = nullptr;
    check(runtime_->api->GetAllocatorWithDefaultOptions(&allocator));
    char* text = nullptr;
    check(get(session_.get(), k, allocator, &text));
    const std::string result = text;
    check(runtime_->api->AllocatorFree(allocator, text));
    return result;
  }

  void input(std::size_t k, const char* expected, const std::vector<std::size_t>& shape) {
    OrtTypeInfo* type = nullptr;
    check(runtime_->api->SessionGetInputTypeInfo(session_.get(), k, &type));
    const std::int64_t batch = compare(type, name(k, runtime_->api->SessionGetInputName), expected, shape);
    if (batch > 0) fixed_ = static_cast<std::size_t>(batch);
  }

  /// Throw ModelFileError unless an input or output has the described name and shape. Returns the batch size, or -1 if the
  /// graph takes any.
  std::int64_t compare(OrtTypeInfo* type, const std::string& got_name, const std::string& name, const std::vector<std::size_t>& shape) const {
    const OrtApi& api = *runtime_->api;
    const Handle<OrtTypeInfo> info{type, api.ReleaseTypeInfo};
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    check(api.CastTypeInfoToTensorInfo(type, &tensor));
    ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    std::size_t depth = 0;
    if (tensor != nullptr) {
      check(api.GetTensorElementType(tensor, &element));
      check(api.GetDimensionsCount(tensor, &depth));
    }
    std::vector<std::int64_t> got(depth);
    if (depth > 0) check(api.GetDimensions(tensor, got.data(), depth));
    bool same = element == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT && depth == 1 + shape.size() && got_name == name;
    for (std::size_t k = 0; same && k < shape.size(); ++k) same = got[k + 1] == static_cast<std::int64_t>(shape[k]);
    if (!same) throw ModelFileError("metadata: expected the graph's '" + got_name + "', got a '" + name + "' of another name or shape");
    return got[0];
  }

  std::unique_ptr<Binding> bind(std::size_t n) const {
    auto binding = std::make_unique<Binding>();
    binding->size = n;
    binding->numbers.resize(n * (widths_[0] + widths_[1] + width_));
    float* place = binding->numbers.data();
    const auto add = [&](const std::size_t* shape, std::size_t depth, std::size_t size) {
      std::array<std::int64_t, 3> lengths{static_cast<std::int64_t>(n)};
      std::copy_n(shape, depth, lengths.begin() + 1);
      OrtValue* value = nullptr;
      check(runtime_->api->CreateTensorWithDataAsOrtValue(memory_.get(), place, n * size * sizeof(float), lengths.data(), 1 + depth,
                                                          ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value));
      binding->owned.emplace_back(value, runtime_->api->ReleaseValue);
      binding->values.push_back(value);
      place += n * size;
    };
    for (const std::size_t& width : widths_) add(&width, 1, width);
    for (const Output& output : *outputs_) add(output.shape.data(), output.shape.size(), output.size);
    return binding;
  }

  /// Copy `count` events of `width` numbers, and the last one again until there are `n`.
  static void fill(float* target, const float* events, std::size_t count, std::size_t n, std::size_t width) {
    std::copy_n(events, count * width, target);
    for (std::size_t event = count; event < n; ++event) std::copy_n(events + (count - 1) * width, width, target + event * width);
  }

  /// A handle of nothing.
  template <class T>
  static Handle<T> none() {
    return {nullptr, [](T*) {}};
  }

  Options options_;
  json::Value description_;
  std::unique_ptr<Runtime> runtime_;
  Handle<OrtEnv> environment_ = none<OrtEnv>();
  Handle<OrtSession> session_ = none<OrtSession>();
  Handle<OrtMemoryInfo> memory_ = none<OrtMemoryInfo>();
  std::shared_ptr<const std::vector<Output>> outputs_;
  std::vector<const char*> names_;
  std::array<std::size_t, 2> widths_{};
  std::size_t width_ = 0, n_cells_ = 0;
  std::size_t fixed_ = 0;  // batch size of the graph; 0: any
  mutable Pool<Binding> pool_;
};

}  // namespace hepgan::detail

#endif  // HEPGAN_ONNXRUNTIME_HPP
