// The generator as a template over the network: description, trained ranges, noise, checks. `hepgan::Generator` computes with
// ONNX Runtime; the headers that `hepgan export --format cpp` writes compute with plain loops.
#ifndef HEPGAN_BASIC_GENERATOR_HPP
#define HEPGAN_BASIC_GENERATOR_HPP

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "hepgan/errors.hpp"
#include "hepgan/finite.hpp"
#include "hepgan/json.hpp"
#include "hepgan/model.hpp"
#include "hepgan/noise.hpp"

namespace hepgan {

namespace detail {

/// Working memory that calls borrow: threads can share a generator, and after the first calls none allocates memory.
template <class T>
class Pool {
 public:
  /// Borrow an item for which `fits` is true, or else a new one from `make`. The handle's destructor gives it back.
  template <class Fits, class Make>
  auto borrow(Fits fits, Make make) {
    const auto give_back = [this](T* item) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (free_.size() == most) free_.erase(free_.begin());
      free_.emplace_back(item);
    };
    using Handle = std::unique_ptr<T, decltype(give_back)>;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto fitting = std::find_if(free_.rbegin(), free_.rend(), [&](const auto& item) { return fits(*item); });
      if (fitting != free_.rend()) {
        T* const item = fitting->release();
        free_.erase(std::next(fitting).base());
        return Handle(item, give_back);
      }
    }
    return Handle(make().release(), give_back);
  }

  Pool() { free_.reserve(most); }

 private:
  static constexpr std::size_t most = 64;
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> free_;
};

/// Call `function`, and put the path of the file before the message of an error. Errors of the runtime keep their type; every
/// other std::runtime_error, also one of a network that is not hepgan's, becomes a ModelFileError.
template <class Function>
auto name_file(const std::string& path, Function function) {
  try {
    return function();
  } catch (const RuntimeLibraryError& error) {
    throw RuntimeLibraryError("hepgan: " + path + ": " + error.what());
  } catch (const std::runtime_error& error) {
    throw ModelFileError("hepgan: " + path + ": " + error.what());
  }
}

}  // namespace detail

/// The generator of a model file. Immutable after construction: many threads may share one and call it at the same time.
///
/// A Network needs:
///
/// - a constructor (path, options);
/// - `describe()`: the description in the file;
/// - `prepare(model)`: throws std::runtime_error if the network's sizes differ from the description;
/// - `run(conditions, latent, n, out)`: computes n events, each independent of the others; const, callable from any thread;
/// - `batch()`: number of events in one run that computes fast;
/// - `runtime()`: name and version of what computes, as text.
template <class Network>
class BasicGenerator {
 public:
  /// Load a model and test it.
  ///
  /// Throws NotFoundError if the file does not exist; ModelFileError if it is not one of hepgan, was altered, comes from a newer
  /// hepgan, or does not reproduce its reference vectors on this machine; RuntimeLibraryError if ONNX Runtime cannot be loaded
  /// or fails; InputError if an option has an impossible value.
  explicit BasicGenerator(const std::string& path, Options options = {})
      : path_(path), options_(std::move(options)), network_(std::make_unique<Network>(path, options_)), state_(std::make_unique<State>()) {
    detail::name_file(path, [&] {
      model_ = Model::understand(network_->describe());
      network_->prepare(model_);
    });
    if (options_.not_finite != Action::fail && options_.not_finite != Action::skip)
      throw InputError("hepgan: Options::not_finite: expected fail or skip");
    if (!options_.self_test) return;
    const double difference = self_test();
    if (difference > model_.allowed)
      throw ModelFileError("hepgan: " + path + ": expected the reference vectors within " + detail::short_number(model_.allowed) +
                           ", got a difference of " + detail::short_number(difference) +
                           "; the file was altered, or this machine computes otherwise: export the model again");
  }

  const std::vector<Condition>& conditions() const { return model_.conditions; }
  const std::vector<Output>& outputs() const { return *model_.outputs; }
  const std::vector<Layer>& layers() const { return model_.layers; }
  /// "calorimeter" (showers) or "observables" (tracks).
  const std::string& kind() const { return model_.kind; }
  /// Name of one event, for messages: "shower" or "track".
  const char* row() const { return model_.layers.empty() ? "track" : "shower"; }
  /// Number of standard normal latent numbers of an event.
  std::size_t latent_size() const { return model_.latent; }
  /// Number of values in all outputs of an event.
  std::size_t width() const { return model_.width; }
  /// Number of cells of a shower; 0 for tracks.
  std::size_t n_cells() const { return model_.n_cells; }
  /// Unit of the energies of showers, such as "MeV"; empty for tracks, whose outputs have units of their own.
  const std::string& unit() const { return model_.unit; }
  /// The complete description in the file: provenance, metrics, how the training data were read, ...
  const json::Value& metadata() const { return model_.metadata; }
  /// Name and version of what computes: "ONNX Runtime 1.23", ...
  std::string runtime() const { return network_->runtime(); }
  /// Conditions and events that were clamped, extrapolated, skipped or not finite since construction.
  Counts counts() const {
    return {state_->clamped.load(), state_->extrapolated.load(), state_->skipped.load(), state_->not_finite.load()};
  }

  /// Generate events into memory of the caller. Allocates no memory once as many events have been generated before.
  ///
  /// conditions: number of events x conditions().size(), in the units of conditions(); none for no events.
  /// source: the latent numbers, in one of three ways: number of events x latent_size() standard normal numbers; a Key for each
  ///   event; or a random engine, which may be one of the standard library (std::mt19937_64), an object with flat() (CLHEP),
  ///   or a callable that returns standard normal numbers.
  /// out: number of events x width(), see outputs().
  ///
  /// Throws, before anything is generated, InputError if the sizes do not fit and ConditionRangeError if a condition is
  /// outside its trained range; NotFiniteError if an event has latent numbers or results that are not finite, RuntimeLibraryError
  /// if the runtime fails.
  template <class Source>
  void generate(Span<const float> conditions, Source&& source, Span<float> out) const {
    const std::size_t n = count_events(conditions);
    expect("out", out.size(), n, width());
    const float* latent = nullptr;
    Span<const Key> keys;
    if constexpr (std::is_convertible_v<Source&&, Span<const float>>) {
      const Span<const float> given = source;
      expect("latent", given.size(), n, latent_size());
      latent = given.data();
    } else if constexpr (std::is_convertible_v<Source&&, Span<const Key>>) {
      keys = source;
      expect("keys", keys.size(), n, 1);
    } else if constexpr (std::is_same_v<std::decay_t<Source>, Key>) {
      keys = {&source, std::size_t{n == 0 ? 0U : 1U}};  // no events need no key
      expect("keys", keys.size(), n, 1);
    } else {
      static_assert(detail::is_engine<std::remove_reference_t<Source>>, "latent numbers, keys, or a random engine");
    }
    const auto scratch = state_->pool.borrow([](const Scratch&) { return true; }, [] { return std::make_unique<Scratch>(); });
    const float* const admitted = admit(conditions, *scratch);
    for (std::size_t start = 0; start < n; start += step()) {
      const std::size_t count = std::min(step(), n - start);
      const float* numbers = latent + start * latent_size();
      if (latent == nullptr) {
        scratch->latent.resize(std::max(scratch->latent.size(), count * latent_size()));
        numbers = scratch->latent.data();
        if constexpr (detail::is_engine<std::remove_reference_t<Source>>) {
          normal(source, scratch->latent.data(), count * latent_size());
        } else {
          for (std::size_t k = 0; k < count; ++k) normal(keys[start + k], &scratch->latent[k * latent_size()], latent_size());
        }
      }
      float* const result = out.data() + start * width();
      network_->run(admitted + start * model_.conditions.size(), numbers, count, result);
      guard(admitted, keys.size() == 0 ? numbers : nullptr, start, count, out.data());
    }
    for (const std::size_t skipped : scratch->skipped) std::fill_n(out.data() + skipped * width(), width(), 0.0F);
  }

  /// Generate events into new memory; arguments and errors as above.
  template <class Source>
  Events generate(Span<const float> conditions, Source&& source) const {
    Events events(model_.outputs, count_events(conditions), width(), n_cells());
    generate(conditions, std::forward<Source>(source), events.values());
    return events;
  }
  template <class Source>
  void generate(std::initializer_list<float> conditions, Source&& source, Span<float> out) const {
    generate(Span<const float>(conditions.begin(), conditions.size()), std::forward<Source>(source), out);
  }
  template <class Source>
  Events generate(std::initializer_list<float> conditions, Source&& source) const {
    return generate(Span<const float>(conditions.begin(), conditions.size()), std::forward<Source>(source));
  }

  /// The description in the file as typed values.
  const Model& model() const { return model_; }

  /// Compute the reference vectors in the file on this machine and return the largest relative difference
  /// (Model::difference). The model passes if this is at most Model::allowed.
  double self_test() const {
    return detail::name_file(path_, [&] {
      const std::vector<float> conditions = model_.reference("condition", model_.conditions.size());
      const std::vector<float> latent = model_.reference("latent", latent_size());
      const std::size_t n = conditions.size() / model_.conditions.size();
      if (latent.size() != n * latent_size()) throw ModelFileError("metadata: expected as many latent rows as conditions");
      Events events(model_.outputs, n, width(), n_cells());
      network_->run(conditions.data(), latent.data(), n, events.values().data());
      return model_.difference(events);
    });
  }

 private:
  struct Scratch {
    std::vector<float> conditions, latent;
    std::vector<std::size_t> skipped;
  };

  struct State {
    detail::Pool<Scratch> pool;
    std::atomic<std::uint64_t> clamped{0}, extrapolated{0}, skipped{0}, not_finite{0};
  };

  std::size_t step() const { return options_.batch != 0 ? options_.batch : network_->batch(); }

  void expect(const char* name, std::size_t got, std::size_t n, std::size_t width_of_a_row) const {
    if (got != n * width_of_a_row)
      throw InputError("hepgan: " + std::string(name) + ": expected " + std::to_string(n) + " x " +
                       std::to_string(width_of_a_row) + " numbers, got " + std::to_string(got) + "; give one row a " + row());
  }

  std::size_t count_events(Span<const float> conditions) const {
    const std::size_t width_of_a_row = model_.conditions.size();
    if (conditions.size() % width_of_a_row != 0)
      throw InputError("hepgan: conditions: expected a multiple of " + std::to_string(width_of_a_row) +
                       " numbers, got " + std::to_string(conditions.size()) + "; give one row a " + row());
    return conditions.size() / width_of_a_row;
  }

  /// Apply Options::out_of_range. Returns the given conditions, or a changed copy if one was clamped or skipped.
  const float* admit(Span<const float> given, Scratch& scratch) const {
    scratch.skipped.clear();
    const std::size_t width_of_a_row = model_.conditions.size();
    bool copied = false;
    for (std::size_t k = 0; k < given.size(); ++k) {
      const Condition& condition = model_.conditions[k % width_of_a_row];
      const float& value = given[k];
      if (condition.knows(value)) continue;
      const std::size_t event = k / width_of_a_row;
      const bool possible = detail::is_finite(value) && (value > 0 || !condition.logarithmic);
      Action action = options_.on_excursion ? options_.on_excursion({event, condition, value}) : options_.out_of_range;
      if (!condition.categories.empty() && action != Action::skip) action = Action::fail;
      if (action == Action::extrapolate && !possible) action = Action::fail;
      if (action == Action::clamp && detail::is_nan(value)) action = Action::fail;
      if (action == Action::fail) refuse(condition, value, event, possible);
      if (action == Action::extrapolate) {
        ++state_->extrapolated;
        continue;
      }
      if (!copied) scratch.conditions.assign(given.begin(), given.end());
      copied = true;
      const auto low = static_cast<float>(condition.low), high = static_cast<float>(condition.high);
      scratch.conditions[k] = value > high ? high : low;
      if (!condition.categories.empty()) scratch.conditions[k] = static_cast<float>(condition.categories.front().second);
      if (action == Action::clamp) {
        ++state_->clamped;
      } else if (scratch.skipped.empty() || scratch.skipped.back() != event) {
        scratch.skipped.push_back(event);
        ++state_->skipped;
      }
    }
    return copied ? scratch.conditions.data() : given.data();
  }

  /// Throw ConditionRangeError. possible: whether extrapolation to the value would be.
  [[noreturn]] static void refuse(const Condition& condition, const float& value, std::size_t event, bool possible) {
    const std::string unit = condition.unit.empty() ? "" : " " + condition.unit;
    std::string expected, remedy;
    if (!condition.categories.empty()) {
      for (const auto& [name, number] : condition.categories)
        expected += (expected.empty() ? "one of " : ", ") + name + " = " + detail::short_number(number);
      remedy = "the generator was trained with no other";
    } else {
      expected = detail::short_number(condition.low) + " to " + detail::short_number(condition.high) + unit + " (the trained range)";
      remedy = possible ? "stay inside, or accept extrapolation with --extrapolate (in code: option extrapolate)"
                        : "extrapolation needs a finite number, and a positive one where the logarithm is taken";
    }
    throw ConditionRangeError("condition '" + condition.name + "': expected " + expected + ", got " +
                              detail::short_number(value) + unit + " in row " + std::to_string(event) + "; " + remedy);
  }

  /// Apply Options::not_finite: throw, or set events with numbers that are not finite to zero. Latent numbers are tested too:
  /// with -ffast-math a network may turn NaN into finite numbers. latent: of the events from `start` on; nullptr if they are noise
  /// of keys.
  void guard(const float* conditions, const float* latent, std::size_t start, std::size_t count, float* out) const {
    for (std::size_t event = start; event < start + count; ++event) {
      float* const numbers = out + event * width();
      const float* const given = latent == nullptr ? nullptr : latent + (event - start) * latent_size();
      const std::size_t bad_latent = given == nullptr ? latent_size() : detail::first_not_finite(given, latent_size());
      const std::size_t place = detail::first_not_finite(numbers, width());
      if (bad_latent == latent_size() && place == width()) continue;
      ++state_->not_finite;
      if (options_.not_finite == Action::skip) {
        std::fill_n(numbers, width(), 0.0F);
        continue;
      }
      const bool of_latent = bad_latent < latent_size();
      const auto owner = std::find_if(outputs().begin(), outputs().end(), [&](const Output& o) { return of_latent || place < o.offset + o.size; });
      std::string at;
      for (std::size_t k = 0; k < model_.conditions.size(); ++k)
        at += (k == 0 ? "" : ", ") + model_.conditions[k].name + " = " +
              detail::short_number(conditions[event * model_.conditions.size() + k]);
      throw NotFiniteError("hepgan: " + (of_latent ? "latent" : "output '" + owner->name + "'") + ": expected finite numbers, got " +
                           detail::short_number(of_latent ? given[bad_latent] : numbers[place]) + " in row " + std::to_string(event) +
                           " (" + at + "); " + (of_latent ? "give finite ones" : "stay inside the trained range") +
                           ", or let Options::not_finite skip such events");
    }
  }

  std::string path_;
  Options options_;
  std::unique_ptr<Network> network_;
  Model model_;
  std::unique_ptr<State> state_;
};

}  // namespace hepgan

#endif  // HEPGAN_BASIC_GENERATOR_HPP
