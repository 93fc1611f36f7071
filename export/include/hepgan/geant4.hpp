// Showers of a hepgan model in Geant4 (10.7 or newer): a fast-simulation model for a region. Guide: docs/geant4.md.
//
//   void Detector::ConstructSDandField() {  // called in each thread; all threads share one generator
//     auto generator = hepgan::share<hepgan::Generator>("model.onnx");
//     new hepgan::FastSimulation("showers", region, generator, {"e-", "e+"});
//   }
//
// Any class with the interface of hepgan::Generator works, also the one in a header that hepgan export --format cpp wrote.
#ifndef HEPGAN_GEANT4_HPP
#define HEPGAN_GEANT4_HPP

#include <G4Event.hh>
#include <G4EventManager.hh>
#include <G4FastHit.hh>
#include <G4FastSimHitMaker.hh>
#include <G4FastStep.hh>
#include <G4FastTrack.hh>
#include <G4ParticleDefinition.hh>
#include <G4Run.hh>
#include <G4RunManager.hh>
#include <G4ThreeVector.hh>
#include <G4Track.hh>
#include <G4UIcmdWithADoubleAndUnit.hh>
#include <G4UIcmdWithAString.hh>
#include <G4UIcmdWithoutParameter.hh>
#include <G4UIcommand.hh>
#include <G4UIdirectory.hh>
#include <G4UImessenger.hh>
#include <G4VFastSimulationModel.hh>
#include <G4VSolid.hh>
#include <G4ios.hh>
#include <Randomize.hh>
#include <globals.hh>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "hepgan/errors.hpp"
#include "hepgan/finite.hpp"
#include "hepgan/hits.hpp"
#include "hepgan/model.hpp"
#include "hepgan/noise.hpp"

namespace hepgan {

/// Load a generator that all threads share: one object for each path, kept as long as a shared pointer to it exists.
template <class Generator>
std::shared_ptr<const Generator> share(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<const Generator>> loaded;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<const Generator> generator = loaded[path].lock();
  if (!generator) loaded[path] = generator = std::make_shared<const Generator>(path);
  return generator;
}

/// Numbers of particles that entered the envelope of a model, by what happened to them; summed over all threads.
struct FastSimulationCounts {
  std::atomic<std::uint64_t> showers{0};        ///< shower generated
  std::atomic<std::uint64_t> out_of_range{0};   ///< left to full simulation: outside the trained range or the energy limits
  std::atomic<std::uint64_t> not_contained{0};  ///< left to full simulation: too little of the envelope ahead
  std::atomic<std::uint64_t> failed{0};         ///< the generator threw an error, and the event was aborted
};

inline std::ostream& operator<<(std::ostream& stream, const FastSimulationCounts& counts) {
  return stream << counts.showers << " showers generated; left to full simulation: " << counts.out_of_range
                << " out of range, " << counts.not_contained << " not contained; " << counts.failed << " failed";
}

namespace detail {

/// A quantity of a track that a condition can be, found by the condition's name. Values are in Geant4's units (MeV, mm, rad) and
/// in coordinates of the envelope.
struct TrackQuantity {
  const char* name;
  char dimension;  // 'E' energy, 'L' length, 'A' angle, '1' number
  double (*value)(const G4FastTrack&);
};

/// The quantity of a name, or nullptr.
inline const TrackQuantity* track_quantity(std::string_view name) {
  constexpr auto kinetic_energy = [](const G4FastTrack& t) { return t.GetPrimaryTrack()->GetKineticEnergy(); };
  constexpr auto momentum = [](const G4FastTrack& t) { return t.GetPrimaryTrack()->GetMomentum().mag(); };
  static constexpr std::array<TrackQuantity, 11> quantities{{
      {"incident_energy", 'E', kinetic_energy},
      {"kinetic_energy", 'E', kinetic_energy},
      {"energy", 'E', kinetic_energy},
      {"momentum", 'E', momentum},
      {"p", 'E', momentum},
      {"theta", 'A', [](const G4FastTrack& t) { return t.GetPrimaryTrackLocalDirection().theta(); }},
      {"phi", 'A', [](const G4FastTrack& t) { return t.GetPrimaryTrackLocalDirection().phi(); }},
      {"eta", '1', [](const G4FastTrack& t) { return t.GetPrimaryTrackLocalDirection().eta(); }},
      {"x", 'L', [](const G4FastTrack& t) { return t.GetPrimaryTrackLocalPosition().x(); }},
      {"y", 'L', [](const G4FastTrack& t) { return t.GetPrimaryTrackLocalPosition().y(); }},
      {"z", 'L', [](const G4FastTrack& t) { return t.GetPrimaryTrackLocalPosition().z(); }},
  }};
  for (const TrackQuantity& quantity : quantities)
    if (name == quantity.name) return &quantity;
  return nullptr;
}

/// Size of a unit in Geant4's units; 0 if it is not a unit of the dimension.
inline double unit_in_geant4(std::string_view name, char dimension) {
  struct Unit {
    const char* name;
    char dimension;
    double value;
  };
  static constexpr double degree = 3.14159265358979323846 / 180;
  static constexpr std::array<Unit, 17> units{{
      {"eV", 'E', 1e-6}, {"keV", 'E', 1e-3}, {"keV/c", 'E', 1e-3}, {"MeV", 'E', 1}, {"MeV/c", 'E', 1}, {"GeV", 'E', 1e3},
      {"GeV/c", 'E', 1e3}, {"TeV", 'E', 1e6}, {"TeV/c", 'E', 1e6}, {"um", 'L', 1e-3}, {"mm", 'L', 1}, {"cm", 'L', 10},
      {"m", 'L', 1e3}, {"rad", 'A', 1}, {"mrad", 'A', 1e-3}, {"deg", 'A', degree}, {"", '1', 1},
  }};
  for (const Unit& unit : units)
    if (name == unit.name && dimension == unit.dimension) return unit.value;
  return 0;
}

/// The counts that all models of a name share, in all threads.
inline std::shared_ptr<FastSimulationCounts> shared_counts(const std::string& name) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<FastSimulationCounts>> all;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<FastSimulationCounts>& counts = all[name];
  if (!counts) counts = std::make_shared<FastSimulationCounts>();
  return counts;
}

/// A directory of commands, each with the action that it calls.
class Commands : public G4UImessenger {
 public:
  using Action = std::function<void(const std::string&)>;

  Commands(const std::string& path, const std::string& guidance) : path_(path), directory_(path.c_str()) {
    directory_.SetGuidance(guidance.c_str());
  }

  /// Add a command with a text, which may have to be one of `candidates`.
  void text(const char* name, const char* guidance, Action action, const char* candidates = nullptr) {
    auto command = std::make_unique<G4UIcmdWithAString>((path_ + name).c_str(), this);
    command->SetParameterName("value", false);
    if (candidates != nullptr) command->SetCandidates(candidates);
    add(std::move(command), guidance, std::move(action));
  }

  /// Add a command with a number and a unit. The action gets the number in Geant4's units.
  void quantity(const char* name, const char* guidance, const char* category, std::function<void(double)> action) {
    auto command = std::make_unique<G4UIcmdWithADoubleAndUnit>((path_ + name).c_str(), this);
    command->SetParameterName("value", false);
    command->SetUnitCategory(category);
    add(std::move(command), guidance, [action = std::move(action)](const std::string& value) {
      action(G4UIcmdWithADoubleAndUnit::GetNewDoubleValue(value.c_str()));
    });
  }

  /// Add a command without parameters that is not sent to worker threads.
  void report(const char* name, const char* guidance, std::function<void()> action) {
    auto command = std::make_unique<G4UIcmdWithoutParameter>((path_ + name).c_str(), this);
    command->SetToBeBroadcasted(false);
    add(std::move(command), guidance, [action = std::move(action)](const std::string&) { action(); });
  }

  void SetNewValue(G4UIcommand* command, G4String value) override {
    for (const auto& [mine, action] : commands_) {
      if (mine.get() != command) continue;
      try {
        action(value);
      } catch (const std::exception& error) {
        G4ExceptionDescription description;
        description << error.what();
        command->CommandFailed(description);
      }
    }
  }

 private:
  void add(std::unique_ptr<G4UIcommand> command, const char* guidance, Action action) {
    command->SetGuidance(guidance);
    commands_.emplace_back(std::move(command), std::move(action));
  }

  std::string path_;
  G4UIdirectory directory_;
  std::vector<std::pair<std::unique_ptr<G4UIcommand>, Action>> commands_;
};

}  // namespace detail

/// A fast-simulation model that replaces particles entering an envelope by showers of a generator.
///
/// It takes a particle if all of these conditions hold; Geant4 simulates all other particles in full:
///
/// 1. it is one of the named particles, and where a condition has categories (PDG codes), one of those;
/// 2. it is on the surface of the envelope, going in;
/// 3. its kinetic energy is within the limits, and each condition within its trained range;
/// 4. along the axis of the shower, the envelope continues for at least the depth of the model's layers; if a margin is set,
///    the four points at this distance from the axis, half the depth in, are inside the envelope too.
///
/// Each thread needs its own object, as Geant4 demands; the generator is shared. Commands are under /hepgan/NAME/.
template <class Generator>
class FastSimulation : public G4VFastSimulationModel {
 public:
  /// Source of the random numbers. keyed: a function of (seed, run, event, track), so that a track gives the same shower
  /// whatever was simulated before it. engine: Geant4's random engine.
  enum class Noise { keyed, engine };
  /// Direction of the axis of the shower: that of the particle, or z of the envelope.
  enum class Axis { particle, envelope };
  using Quantity = std::function<double(const G4FastTrack&)>;

  /// name: of the model, and of the directory of its commands. particles: Geant4's names, such as "e-".
  ///
  /// Throws InputError if the generator does not make showers.
  FastSimulation(const G4String& name, G4Envelope* envelope, std::shared_ptr<const Generator> generator = nullptr,
                 std::vector<std::string> particles = {}, G4bool is_unique = false)
      : G4VFastSimulationModel(name, envelope, is_unique),
        counts_(detail::shared_counts(name)),
        particles_(std::move(particles)),
        commands_("/hepgan/" + name + "/", "Showers of a hepgan model") {
    if (generator) use(std::move(generator));
    add_commands();
  }

  /// Replace the generator. Throws InputError if the new one does not make showers.
  void use(std::shared_ptr<const Generator> generator) {
    if (!generator || generator->layers().empty())
      throw InputError("hepgan: " + GetName() + ": expected a generator of showers, got one of tracks or none");
    maker_ = HitMaker(*generator, threshold_);
    values_.resize(generator->width());
    conditions_.resize(generator->conditions().size());
    sources_.clear();
    generator_ = std::move(generator);
  }

  /// Set the function that gives a condition of a track, in the unit of the condition, if its name is not a known quantity.
  void set_condition(const std::string& name, Quantity value) {
    given_[name] = std::move(value);
    sources_.clear();
  }

  /// Set the function that gives the frame of a shower, in coordinates of the envelope. Default: the shower enters at the
  /// position of the track and goes along the axis, see Frame.
  void set_frame(std::function<Frame(const G4FastTrack&)> frame) { frame_ = std::move(frame); }

  /// Set the function that gives the key of a track. Default: the seed, and Geant4's numbers of run, event and track.
  void set_key(std::function<Key(const G4FastTrack&)> key) { key_ = std::move(key); }

  /// Set the threshold of the hits, MeV. Throws InputError if it is negative or not finite.
  void set_threshold(double threshold) {
    if (generator_) maker_ = HitMaker(*generator_, threshold);
    threshold_ = threshold;
  }

  /// Limits of the kinetic energy, MeV. Throws InputError if one is NaN, which would limit nothing; so do the next two.
  void set_energies(double smallest, double largest) {
    smallest_ = checked("smallest energy", smallest);
    largest_ = checked("largest energy", largest);
  }
  /// Distance from the axis to the four points that must be inside the envelope, mm; 0: no such points.
  void set_margin(double margin) { margin_ = checked("margin", margin); }
  /// Length along the axis that must be inside the envelope, mm. Default: the depth of the layers.
  void set_depth(double depth) { depth_ = checked("depth", depth); }
  void set_axis(Axis axis) { axis_ = axis; }
  void set_noise(Noise noise, std::uint64_t seed = 1) { noise_ = noise, seed_ = seed; }

  /// The maker of the deposits, for instance to name the parallel world of the sensitive detector.
  G4FastSimHitMaker& deposits() { return deposits_; }
  const FastSimulationCounts& counts() const { return *counts_; }

  G4bool IsApplicable(const G4ParticleDefinition& particle) override {
    return !complete() || applies(particle);  // if something is missing, ModelTrigger reports it
  }

  G4bool ModelTrigger(const G4FastTrack& track) override {
    const G4VSolid& solid = *track.GetEnvelopeSolid();
    if (solid.Inside(track.GetPrimaryTrackLocalPosition()) != kSurface) return false;
    // Geant4 keeps the answer of IsApplicable for each particle, but a command may have changed the answer since
    if (!prepare() || !applies(*track.GetPrimaryTrack()->GetDefinition())) return false;
    const double energy = track.GetPrimaryTrack()->GetKineticEnergy();
    if (!detail::is_finite(energy) || energy < smallest_ || energy > largest_ || !find_conditions(track)) {
      ++counts_->out_of_range;
      return false;
    }
    if (!contains(solid, frame(track))) {
      ++counts_->not_contained;
      return false;
    }
    return true;
  }

  void DoIt(const G4FastTrack& track, G4FastStep& step) override {
    step.KillPrimaryTrack();
    step.ProposePrimaryTrackPathLength(0);
    step.ProposeTotalEnergyDeposited(track.GetPrimaryTrack()->GetKineticEnergy());
    try {
      find_conditions(track);
      if (noise_ == Noise::keyed) {
        generator_->generate(conditions_, key(track), values_);
      } else {
        generator_->generate(conditions_, *G4Random::getTheEngine(), values_);
      }
      deposit(track);
      ++counts_->showers;
    } catch (const std::exception& error) {
      ++counts_->failed;
      const std::string message = GetName() + ": " + error.what();
      G4Exception("hepgan::FastSimulation::DoIt", "hepgan002", EventMustBeAborted, message.c_str());
    }
  }

 private:
  static constexpr double slack = 1e-6;  // mm: rounding may make an envelope that just fits seem shorter by this

  static double checked(const char* name, const double& value) {
    if (detail::is_nan(value)) throw InputError("hepgan: " + std::string(name) + ": expected a number, got nan");
    return value;
  }

  bool complete() const { return generator_ != nullptr && (!particles_.empty() || any_categories()); }

  bool applies(const G4ParticleDefinition& particle) const {
    if (!particles_.empty() && std::find(particles_.begin(), particles_.end(), particle.GetParticleName()) == particles_.end())
      return false;
    const auto& all = generator_->conditions();
    const auto code = static_cast<float>(particle.GetPDGEncoding());
    return std::all_of(all.begin(), all.end(), [&](const Condition& c) { return !by_code(c) || c.knows(code); });
  }

  /// Find the source of each condition. If something is missing, stop Geant4 with a message and return false.
  bool prepare() {
    if (!sources_.empty() && complete()) return true;
    try {
      if (!generator_) throw InputError("expected a model, got none; name it with /hepgan/" + GetName() + "/model");
      if (!complete())
        throw InputError("expected particles, got none; name them with /hepgan/" + GetName() + "/particle");
      std::vector<Quantity> sources;
      for (const Condition& c : generator_->conditions()) sources.push_back(source(c));
      sources_ = std::move(sources);
      return true;
    } catch (const std::exception& error) {
      const std::string message = GetName() + ": " + error.what();
      G4Exception("hepgan::FastSimulation::ModelTrigger", "hepgan001", FatalErrorInArgument, message.c_str());
      return false;
    }
  }

  /// Whether a condition is the code of the particle.
  bool by_code(const Condition& c) const { return !c.categories.empty() && given_.count(c.name) == 0; }

  bool any_categories() const {
    const auto& all = generator_->conditions();
    return std::any_of(all.begin(), all.end(), [&](const Condition& c) { return by_code(c); });
  }

  /// The function that gives a condition of a track, in the condition's unit.
  Quantity source(const Condition& c) const {
    if (const auto given = given_.find(c.name); given != given_.end()) return given->second;
    if (by_code(c))
      return [](const G4FastTrack& t) { return static_cast<double>(t.GetPrimaryTrack()->GetDefinition()->GetPDGEncoding()); };
    const detail::TrackQuantity* quantity = detail::track_quantity(c.name);
    const double unit = quantity != nullptr ? detail::unit_in_geant4(c.unit, quantity->dimension) : 0;
    if (unit == 0)
      throw InputError("condition '" + c.name + "' in '" + c.unit + "': expected a name and a unit that say what it is " +
                       "of a track, such as incident_energy in GeV; say what it is with set_condition");
    return [value = quantity->value, unit](const G4FastTrack& t) { return value(t) / unit; };
  }

  /// Compute the conditions of a track. Returns whether all are in range.
  bool find_conditions(const G4FastTrack& track) {
    bool all = true;
    for (std::size_t k = 0; k < sources_.size(); ++k) {
      conditions_[k] = static_cast<float>(sources_[k](track));
      all = all && generator_->conditions()[k].knows(conditions_[k]);
    }
    return all;
  }

  Frame frame(const G4FastTrack& track) const {
    if (frame_) return frame_(track);
    const G4ThreeVector entry = track.GetPrimaryTrackLocalPosition(), along = track.GetPrimaryTrackLocalDirection();
    const Vector3 z = axis_ == Axis::envelope ? Vector3{0, 0, 1} : Vector3{along.x(), along.y(), along.z()};
    return {generator_->layers(), {entry.x(), entry.y(), entry.z()}, z};
  }

  bool contains(const G4VSolid& solid, const Frame& frame) const {
    const std::array<double, 2> ends = depths(generator_->layers());
    const double depth = depth_.value_or(ends[1] - ends[0]);
    const auto point = [&](double x, double y, double z) {
      const Vector3 p = frame.place({x, y, frame.front() + z});
      return G4ThreeVector(p[0], p[1], p[2]);
    };
    const Vector3& z = frame.z_axis();
    if (solid.DistanceToOut(point(0, 0, 0), G4ThreeVector(z[0], z[1], z[2])) < depth - slack) return false;
    if (margin_ <= 0) return true;
    for (const auto& [x, y] : {std::pair{margin_, 0.0}, {-margin_, 0.0}, {0.0, margin_}, {0.0, -margin_}})
      if (solid.Inside(point(x, y, 0.5 * depth)) == kOutside) return false;
    return true;
  }

  Key key(const G4FastTrack& track) const {
    if (key_) return key_(track);
    const G4Run* run = G4RunManager::GetRunManager()->GetCurrentRun();
    const G4Event* event = G4EventManager::GetEventManager()->GetConstCurrentEvent();
    const auto number = [](const char* name, G4int value) {
      if (value < 0)
        throw InputError("key: expected a number of the " + std::string(name) + " from 0 on, got " + std::to_string(value) +
                         "; give keys of your own with set_key");
      return static_cast<std::uint64_t>(value);
    };
    return {seed_, number("run", run->GetRunID()), number("event", event->GetEventID()),
            number("track", track.GetPrimaryTrack()->GetTrackID())};
  }

  void deposit(const G4FastTrack& track) {
    const auto make = [&](const G4ThreeVector& place, double energy) { deposits_.make(G4FastHit(place, energy), track); };
    if (!located_) {  // a G4FastSimHitMaker puts its first deposit at the track, wherever it should be: make a negligible one
      make(track.GetPrimaryTrackLocalPosition(), std::numeric_limits<double>::min());
      located_ = true;
    }
    maker_->make(Span<const float>(values_.data(), generator_->n_cells()), frame(track),
                 [&](const Hit& hit) { make(G4ThreeVector(hit.x, hit.y, hit.z), hit.energy); });
  }

  void add_commands() {
    using Text = const std::string&;
    commands_.text("model", "Path of the model file", [this](Text path) { use(share<Generator>(path)); });
    commands_.text("particle", "Names of the particles to replace, separated by commas", [this](Text list) { set_particles(list); });
    commands_.quantity("threshold", "Energy above which a cell becomes a deposit", "Energy",
                       [this](double value) { set_threshold(value); });
    commands_.quantity("minEnergy", "Smallest kinetic energy", "Energy", [this](double value) { set_energies(value, largest_); });
    commands_.quantity("maxEnergy", "Largest kinetic energy", "Energy", [this](double value) { set_energies(smallest_, value); });
    commands_.quantity("depth", "Length along the axis that must be inside the envelope; default: depth of the layers", "Length",
                       [this](double value) { set_depth(value); });
    commands_.quantity("margin", "Distance around the axis that must be inside the envelope", "Length",
                       [this](double value) { set_margin(value); });
    const auto set_axis_to = [this](Text value) { axis_ = value == "envelope" ? Axis::envelope : Axis::particle; };
    commands_.text("axis", "Direction of the axis of the showers", set_axis_to, "particle envelope");
    const auto set_noise_to = [this](Text value) { noise_ = value == "engine" ? Noise::engine : Noise::keyed; };
    commands_.text("noise", "Random numbers: keyed by seed, run, event and track, or from Geant4's engine", set_noise_to,
                   "keyed engine");
    commands_.text("seed", "Seed of keyed noise, a whole number", [this](Text value) { set_seed(value); });
    const auto print = [this] { G4cout << GetName() << ": " << *counts_ << G4endl; };
    commands_.report("statistics", "Print the numbers of showers generated and left to full simulation, over all threads", print);
  }

  void set_particles(const std::string& list) {
    std::vector<std::string> names(1);
    for (const char c : list) {
      if (c != ',' && c != ' ')
        names.back() += c;
      else if (!names.back().empty())
        names.emplace_back();
    }
    if (names.back().empty()) names.pop_back();
    particles_ = std::move(names);
  }

  void set_seed(const std::string& text) {
    std::uint64_t seed = 0;
    const char* const end = text.data() + text.size();
    const auto [next, error] = std::from_chars(text.data(), end, seed);
    if (next != end || error != std::errc())
      throw InputError("hepgan: seed: expected a whole number from 0 to 2^64 - 1, got '" + text + "'");
    seed_ = seed;
  }

  std::shared_ptr<FastSimulationCounts> counts_;
  std::shared_ptr<const Generator> generator_;
  std::optional<HitMaker> maker_;
  std::vector<std::string> particles_;
  std::map<std::string, Quantity> given_;
  std::vector<Quantity> sources_;
  std::function<Frame(const G4FastTrack&)> frame_;
  std::function<Key(const G4FastTrack&)> key_;
  std::vector<float> conditions_, values_;
  double threshold_ = 0, smallest_ = 0, largest_ = std::numeric_limits<double>::max(), margin_ = 0;
  std::optional<double> depth_;
  Axis axis_ = Axis::particle;
  Noise noise_ = Noise::keyed;
  std::uint64_t seed_ = 1;
  bool located_ = false;
  G4FastSimHitMaker deposits_;
  detail::Commands commands_;
};

}  // namespace hepgan

#endif  // HEPGAN_GEANT4_HPP
