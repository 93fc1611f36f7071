// A generator over any network: introspection, ranges, noise, checks. `Generator` has ONNX Runtime below it, the headers that
// `hepgan export --format cpp` writes have plain loops.
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

#include "hepgan/json.hpp"
#include "hepgan/model.hpp"
#include "hepgan/noise.hpp"

namespace hepgan {

namespace detail {

/// Working memory that calls borrow, so that threads share a generator and none allocates in the long run.
template <class T>
class Pool {
 public:
  /// Borrow one that `fits`, or one that `make` makes; it comes back when the handle goes.
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
      const auto found = std::find_if(free_.rbegin(), free_.rend(), [&](const auto& item) { return fits(*item); });
      if (found != free_.rend()) {
        T* const item = found->release();
        free_.erase(std::next(found).base());
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

}  // namespace detail

/// A generator in a model file. Immutable after construction: many threads may share one and call it at the same time.
///
/// A Network has a constructor (path, options); `describe()`: hands over the description in the file; `prepare(model)`: throws
/// std::runtime_error if sizes differ from it; `run(conditions, latent, rows, out)`: const, from any thread, row by row; `batch()`: rows
/// that are fast at once; `runtime()`: what computes, in words.
template <class Network>
class BasicGenerator {
 public:
  /// Load a model and test it.
  ///
  /// Throws std::runtime_error if there is no such file, if it is not a hepgan model, was altered, comes from a newer
  /// hepgan, does not reproduce its reference vectors here, or if ONNX Runtime cannot be loaded.
  explicit BasicGenerator(const std::string& path, Options options = {})
      : path_(path), options_(std::move(options)), network_(std::make_unique<Network>(path, options_)), state_(std::make_unique<State>()) {
    try {
      model_ = Model::understand(network_->describe());
      network_->prepare(model_);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error("hepgan: " + path + ": " + error.what());
    }
    if (options_.not_finite != Action::fail && options_.not_finite != Action::skip)
      throw std::invalid_argument("hepgan: Options::not_finite: expected fail or skip");
    if (!options_.self_test) return;
    const double difference = self_test();
    if (!(difference <= tolerance))
      throw std::runtime_error("hepgan: " + path + ": expected the reference vectors within " + detail::short_number(tolerance) +
                               ", got a difference of " + detail::short_number(difference) +
                               "; the file was altered, or this machine computes otherwise: export the model again");
  }

  const std::vector<Condition>& conditions() const { return model_.conditions; }
  const std::vector<Output>& outputs() const { return *model_.outputs; }
  const std::vector<Layer>& layers() const { return model_.layers; }
  /// "calorimeter" (showers) or "observables" (tracks).
  const std::string& kind() const { return model_.kind; }
  /// What an event is called: "shower" or "track".
  const char* row() const { return model_.layers.empty() ? "track" : "shower"; }
  /// Standard normal numbers that one event takes.
  std::size_t latent_size() const { return model_.latent; }
  /// Numbers of one event: all its outputs.
  std::size_t width() const { return model_.width; }
  /// Cells of a shower; 0 for tracks.
  std::size_t n_cells() const { return model_.n_cells; }
  /// Unit of the energies of showers; targets have their own.
  const std::string& unit() const { return model_.unit; }
  /// The whole description in the file: provenance, metrics, how the training data were read, ...
  const json::Value& metadata() const { return model_.metadata; }
  /// What computes: "ONNX Runtime 1.23", ...
  std::string runtime() const { return network_->runtime(); }
  /// Events that were clamped, skipped, ... since construction.
  Counts counts() const {
    return {state_->clamped.load(), state_->extrapolated.load(), state_->skipped.load(), state_->not_finite.load()};
  }

  /// Generate events into memory of the caller; nothing is allocated once as many have been generated before.
  ///
  /// conditions: number of events x conditions().size(), in the units of conditions().
  /// source: where the latent numbers come from. Either ready made, number of events x latent_size() standard normal
  ///   numbers; or a Key for each event; or a random engine: of the standard library's kind (std::mt19937_64), an object with
  ///   flat() (CLHEP), or a callable that returns normal numbers.
  /// out: number of events x width(), see outputs().
  ///
  /// Throws std::invalid_argument if the sizes do not fit or a condition is refused, before anything is generated, and
  /// std::runtime_error if numbers are not finite or the runtime fails.
  template <class Source>
  void generate(Span<const float> conditions, Source&& source, Span<float> out) const {
    const std::size_t n = rows(conditions);
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
      keys = {&source, 1};
      expect("keys", 1, n, 1);
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
      guard(admitted, start, count, out.data());
    }
    for (const std::size_t skipped : scratch->skipped) std::fill_n(out.data() + skipped * width(), width(), 0.0F);
  }

  /// Generate events; arguments as above.
  template <class Source>
  Events generate(Span<const float> conditions, Source&& source) const {
    Events events(model_.outputs, rows(conditions), width(), n_cells());
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

  /// The description, understood.
  const Model& model() const { return model_; }

  /// Largest relative difference (Model::difference) between what this machine computes and the reference vectors in the
  /// file; the model is sound if it is at most `tolerance`.
  double self_test() const {
    try {
      const std::vector<float> conditions = model_.reference("condition", model_.conditions.size());
      const std::vector<float> latent = model_.reference("latent", latent_size());
      const std::size_t n = conditions.size() / model_.conditions.size();
      if (latent.size() != n * latent_size()) throw std::runtime_error("metadata: expected as many latent rows as conditions");
      Events events(model_.outputs, n, width(), n_cells());
      network_->run(conditions.data(), latent.data(), n, events.values().data());
      return model_.difference(events);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error("hepgan: " + path_ + ": " + error.what());
    }
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
      throw std::invalid_argument("hepgan: " + std::string(name) + ": expected " + std::to_string(n) + " x " +
                                  std::to_string(width_of_a_row) + " numbers, got " + std::to_string(got) + "; give one row a " + row());
  }

  std::size_t rows(Span<const float> conditions) const {
    const std::size_t width_of_a_row = model_.conditions.size();
    if (conditions.size() == 0 || conditions.size() % width_of_a_row != 0)
      throw std::invalid_argument("hepgan: conditions: expected a multiple of " + std::to_string(width_of_a_row) +
                                  " numbers, got " + std::to_string(conditions.size()) + "; give one row a " + row());
    return conditions.size() / width_of_a_row;
  }

  /// The conditions to generate with: those given, or a copy if one had to be changed.
  const float* admit(Span<const float> given, Scratch& scratch) const {
    scratch.skipped.clear();
    const std::size_t width_of_a_row = model_.conditions.size();
    bool copied = false;
    for (std::size_t k = 0; k < given.size(); ++k) {
      const Condition& condition = model_.conditions[k % width_of_a_row];
      const float value = given[k];
      if (condition.knows(value)) continue;
      const std::size_t event = k / width_of_a_row;
      const bool possible = std::isfinite(value) && (value > 0 || !condition.logarithmic);
      Action action = options_.on_excursion ? options_.on_excursion({event, condition, value}) : options_.out_of_range;
      if (!condition.categories.empty() && action != Action::skip) action = Action::fail;
      if (action == Action::extrapolate && !possible) action = Action::fail;
      if (action == Action::clamp && std::isnan(value)) action = Action::fail;
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

  [[noreturn]] static void refuse(const Condition& condition, float value, std::size_t event, bool possible) {
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
    throw std::invalid_argument("condition '" + condition.name + "': expected " + expected + ", got " +
                                detail::short_number(static_cast<double>(value)) + unit + " in row " + std::to_string(event) + "; " + remedy);
  }

  /// Refuse or clear events with numbers that are not finite.
  void guard(const float* conditions, std::size_t start, std::size_t count, float* out) const {
    for (std::size_t event = start; event < start + count; ++event) {
      float* const numbers = out + event * width();
      const auto finite = [](float x) { return std::abs(x) <= std::numeric_limits<float>::max(); };
      const float* const bad = std::find_if_not(numbers, numbers + width(), finite);
      if (bad == numbers + width()) continue;
      ++state_->not_finite;
      if (options_.not_finite == Action::skip) {
        std::fill_n(numbers, width(), 0.0F);
        continue;
      }
      const auto place = static_cast<std::size_t>(bad - numbers);
      const auto owner = std::find_if(outputs().begin(), outputs().end(), [&](const Output& o) { return place < o.offset + o.size; });
      std::string at;
      for (std::size_t k = 0; k < model_.conditions.size(); ++k)
        at += (k == 0 ? "" : ", ") + model_.conditions[k].name + " = " +
              detail::short_number(static_cast<double>(conditions[event * model_.conditions.size() + k]));
      throw std::runtime_error("hepgan: output '" + owner->name + "': expected finite numbers, got " +
                               detail::short_number(static_cast<double>(*bad)) + " in row " + std::to_string(event) + " (" + at +
                               "); give finite latent numbers, or let Options::not_finite skip such events");
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
