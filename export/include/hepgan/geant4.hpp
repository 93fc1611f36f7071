// Showers of a hepgan model in Geant4 (10.7 or newer): a fast-simulation model for a region. docs/geant4.md says how.
//
//   void Detector::ConstructSDandField() {  // once in each thread: all share one generator
//     auto generator = hepgan::share<hepgan::Generator>("model.onnx");
//     new hepgan::FastSimulation("showers", region, generator, {"e-", "e+"});
//   }
//
// Any class with the interface of hepgan::Generator will do, so also one that hepgan export --format cpp wrote.
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
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hepgan/hits.hpp"
#include "hepgan/model.hpp"
#include "hepgan/noise.hpp"

namespace hepgan {

/// A generator that all threads share: loaded once for each path, kept as long as somebody has it.
template <class Generator>
std::shared_ptr<const Generator> share(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, std::weak_ptr<const Generator>> loaded;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<const Generator> generator = loaded[path].lock();
  if (!generator) loaded[path] = generator = std::make_shared<const Generator>(path);
  return generator;
}

/// How often a model was asked about a particle that enters its envelope, and what came of it; over all threads.
struct FastSimulationCounts {
  std::atomic<std::uint64_t> showers{0};        ///< generated
  std::atomic<std::uint64_t> out_of_range{0};   ///< left to full simulation: outside the trained range or the limits
  std::atomic<std::uint64_t> not_contained{0};  ///< left to full simulation: too little of the envelope ahead
  std::atomic<std::uint64_t> failed{0};         ///< the generator threw: event aborted
};

inline std::ostream& operator<<(std::ostream& stream, const FastSimulationCounts& counts) {
  return stream << counts.showers << " showers generated; left to full simulation: " << counts.out_of_range
                << " out of range, " << counts.not_contained << " not contained; " << counts.failed << " failed";
}

namespace detail {

/// What a condition may be called, and what it is of a track; in Geant4's units (MeV, mm, rad) and in coordinates of
/// the envelope.
struct TrackQuantity {
  const char* name;
  char dimension;  // 'E' energy, 'L' length, 'A' angle, '1' number
  double (*value)(const G4FastTrack&);
};

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

/// What a unit is in Geant4's units; 0 if it is not one of the dimension.
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

/// One set of counts for all models of a name, in whatever thread.
inline std::shared_ptr<FastSimulationCounts> shared_counts(const std::string& name) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<FastSimulationCounts>> all;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<FastSimulationCounts>& counts = all[name];
  if (!counts) counts = std::make_shared<FastSimulationCounts>();
  return counts;
}

/// Commands in a directory, each with what it does.
class Commands : public G4UImessenger {
 public:
  using Action = std::function<void(const std::string&)>;

  Commands(const std::string& path, const std::string& guidance) : path_(path), directory_(path.c_str()) {
    directory_.SetGuidance(guidance.c_str());
  }

  void text(const char* name, const char* guidance, Action action, const char* candidates = nullptr) {
    auto command = std::make_unique<G4UIcmdWithAString>((path_ + name).c_str(), this);
    command->SetParameterName("value", false);
    if (candidates != nullptr) command->SetCandidates(candidates);
    add(std::move(command), guidance, std::move(action));
  }

  /// The action gets the number in Geant4's units.
  void quantity(const char* name, const char* guidance, const char* category, std::function<void(double)> action) {
    auto command = std::make_unique<G4UIcmdWithADoubleAndUnit>((path_ + name).c_str(), this);
    command->SetParameterName("value", false);
    command->SetUnitCategory(category);
    add(std::move(command), guidance, [action = std::move(action)](const std::string& value) {
      action(G4UIcmdWithADoubleAndUnit::GetNewDoubleValue(value.c_str()));
    });
  }

  /// Not sent to worker threads.
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

/// Showers of a generator instead of full simulation, for particles that enter an envelope.
///
/// A particle is taken if all of this holds; else Geant4 simulates it as ever:
///
/// 1. it is one of the particles, and where a condition has categories (PDG codes), one of those;
/// 2. it is on the surface of the envelope, going in;
/// 3. its kinetic energy is within the limits, and each condition within its trained range;
/// 4. along the axis of the shower the envelope goes on for at least the depth of the model's layers, and if a margin
///    is set, in the middle of that depth by as much to the four sides.
///
/// One object a thread, as Geant4 wants it; the generator is shared. Commands are under /hepgan/NAME/.
template <class Generator>
class FastSimulation : public G4VFastSimulationModel {
 public:
  /// Where the random numbers come from: Geant4's engine, or a function of (seed, run, event, track), so that a track
  /// gives the same shower whatever was simulated before it.
  enum class Noise { keyed, engine };
  /// What the axis of the shower follows: the particle's direction, or z of the envelope.
  enum class Axis { particle, envelope };
  using Quantity = std::function<double(const G4FastTrack&)>;

  /// name: of the model, and of the directory of its commands. particles: names as Geant4 has them, such as "e-".
  ///
  /// Throws std::invalid_argument if it is not a generator of showers.
  FastSimulation(const G4String& name, G4Envelope* envelope, std::shared_ptr<const Generator> generator = nullptr,
                 std::vector<std::string> particles = {}, G4bool is_unique = false)
      : G4VFastSimulationModel(name, envelope, is_unique),
        counts_(detail::shared_counts(name)),
        particles_(std::move(particles)),
        commands_("/hepgan/" + name + "/", "Showers of a hepgan model") {
    if (generator) use(std::move(generator));
    add_commands();
  }

  /// Take another generator.
  void use(std::shared_ptr<const Generator> generator) {
    if (!generator || generator->layers().empty())
      throw std::invalid_argument("hepgan: " + GetName() + ": expected a generator of showers, got one of tracks or none");
    maker_ = HitMaker(*generator, threshold_);
    values_.resize(generator->width());
    conditions_.resize(generator->conditions().size());
    sources_.clear();
    generator_ = std::move(generator);
  }

  /// Say what a condition is of a track, in the unit of the condition, where its name does not tell.
  void set_condition(const std::string& name, Quantity value) {
    given_[name] = std::move(value);
    sources_.clear();
  }

  /// Say where the shower is: a frame in coordinates of the envelope. Default: entering where the track is, along the
  /// axis, see Frame.
  void set_frame(std::function<Frame(const G4FastTrack&)> frame) { frame_ = std::move(frame); }

  /// Number the tracks yourself, where run, event and track are not those of Geant4.
  void set_key(std::function<Key(const G4FastTrack&)> key) { key_ = std::move(key); }

  /// Smallest energy of a hit, MeV.
  void set_threshold(double threshold) {
    if (generator_) maker_ = HitMaker(*generator_, threshold);
    threshold_ = threshold;
  }

  void set_energies(double smallest, double largest) { smallest_ = smallest, largest_ = largest; }
  void set_margin(double margin) { margin_ = margin; }
  void set_depth(double depth) { depth_ = depth; }
  void set_axis(Axis axis) { axis_ = axis; }
  void set_noise(Noise noise, std::uint64_t seed = 1) { noise_ = noise, seed_ = seed; }

  /// What makes the deposits, for instance to name the parallel world of the sensitive detector.
  G4FastSimHitMaker& deposits() { return deposits_; }
  const FastSimulationCounts& counts() const { return *counts_; }

  G4bool IsApplicable(const G4ParticleDefinition& particle) override {
    return !complete() || applies(particle);  // ModelTrigger says what is missing
  }

  G4bool ModelTrigger(const G4FastTrack& track) override {
    const G4VSolid& solid = *track.GetEnvelopeSolid();
    if (solid.Inside(track.GetPrimaryTrackLocalPosition()) != kSurface) return false;
    // Geant4 remembers the answer of IsApplicable for a particle, and commands may have changed it since
    if (!prepare() || !applies(*track.GetPrimaryTrack()->GetDefinition())) return false;
    const double energy = track.GetPrimaryTrack()->GetKineticEnergy();
    if (!(energy >= smallest_ && energy <= largest_) || !find_conditions(track)) {
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
  static constexpr double slack = 1e-6;  // mm: what rounding may take from the depth of an envelope that just fits

  bool complete() const { return generator_ != nullptr && (!particles_.empty() || any_categories()); }

  bool applies(const G4ParticleDefinition& particle) const {
    if (!particles_.empty() && std::find(particles_.begin(), particles_.end(), particle.GetParticleName()) == particles_.end())
      return false;
    const auto& all = generator_->conditions();
    const auto code = static_cast<float>(particle.GetPDGEncoding());
    return std::all_of(all.begin(), all.end(), [&](const Condition& c) { return !by_code(c) || c.knows(code); });
  }

  /// Find out what the conditions are of a track; if something is missing, Geant4 is told to stop.
  bool prepare() {
    if (!sources_.empty() && complete()) return true;
    try {
      if (!generator_) throw std::invalid_argument("expected a model, got none; name it with /hepgan/" + GetName() + "/model");
      if (!complete())
        throw std::invalid_argument("expected particles, got none; name them with /hepgan/" + GetName() + "/particle");
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

  Quantity source(const Condition& c) const {
    if (const auto found = given_.find(c.name); found != given_.end()) return found->second;
    if (by_code(c))
      return [](const G4FastTrack& t) { return static_cast<double>(t.GetPrimaryTrack()->GetDefinition()->GetPDGEncoding()); };
    const detail::TrackQuantity* quantity = detail::track_quantity(c.name);
    const double unit = quantity != nullptr ? detail::unit_in_geant4(c.unit, quantity->dimension) : 0;
    if (unit == 0)
      throw std::invalid_argument("condition '" + c.name + "' in '" + c.unit + "': expected a name and a unit that say what it is " +
                                  "of a track, such as incident_energy in GeV; say what it is with set_condition");
    return [value = quantity->value, unit](const G4FastTrack& t) { return value(t) / unit; };
  }

  /// Conditions of a track; whether all are in range.
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
    const auto number = [](G4int value) { return static_cast<std::uint64_t>(value); };
    return {seed_, number(run->GetRunID()), number(event->GetEventID()), number(track.GetPrimaryTrack()->GetTrackID())};
  }

  void deposit(const G4FastTrack& track) {
    const auto make = [&](const G4ThreeVector& place, double energy) { deposits_.make(G4FastHit(place, energy), track); };
    if (!located_) {  // the first deposit of a G4FastSimHitMaker lands where the track is, whatever its place: waste it
      make(track.GetPrimaryTrackLocalPosition(), std::numeric_limits<double>::min());
      located_ = true;
    }
    maker_->make(Span<const float>(values_.data(), generator_->n_cells()), frame(track),
                 [&](const Hit& hit) { make(G4ThreeVector(hit.x, hit.y, hit.z), hit.energy); });
  }

  void add_commands() {
    using Text = const std::string&;
    commands_.text("model", "File of the model", [this](Text path) { use(share<Generator>(path)); });
    commands_.text("particle", "Particles it is for, separated by commas", [this](Text list) { set_particles(list); });
    commands_.quantity("threshold", "Smallest energy of a hit", "Energy", [this](double value) { set_threshold(value); });
    commands_.quantity("minEnergy", "Smallest kinetic energy", "Energy", [this](double value) { smallest_ = value; });
    commands_.quantity("maxEnergy", "Largest kinetic energy", "Energy", [this](double value) { largest_ = value; });
    commands_.quantity("depth", "What must be ahead in the envelope; default: depth of the layers", "Length",
                       [this](double value) { depth_ = value; });
    commands_.quantity("margin", "What must be around the axis in the envelope", "Length",
                       [this](double value) { margin_ = value; });
    const auto set_axis_to = [this](Text value) { axis_ = value == "envelope" ? Axis::envelope : Axis::particle; };
    commands_.text("axis", "What the showers follow", set_axis_to, "particle envelope");
    const auto set_noise_to = [this](Text value) { noise_ = value == "engine" ? Noise::engine : Noise::keyed; };
    commands_.text("noise", "Random numbers: keyed by seed, run, event and track, or from the engine", set_noise_to,
                   "keyed engine");
    commands_.text("seed", "Seed of keyed noise, a whole number", [this](Text value) { set_seed(value); });
    const auto print = [this] { G4cout << GetName() << ": " << *counts_ << G4endl; };
    commands_.report("statistics", "Print what was generated, over all threads", print);
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
    const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
    if (!digits) throw std::invalid_argument("hepgan: seed: expected a whole number from 0 to 2^64 - 1, got '" + text + "'");
    seed_ = std::stoull(text);
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
  double threshold_ = 0, smallest_ = 0, largest_ = std::numeric_limits<double>::infinity(), margin_ = 0;
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
