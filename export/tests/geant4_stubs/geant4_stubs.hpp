// Stand-ins for the parts of Geant4's interface that hepgan/geant4.hpp and the example use. Not Geant4: see README.md.
#ifndef HEPGAN_GEANT4_STUBS_HPP
#define HEPGAN_GEANT4_STUBS_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

using G4bool = bool;
using G4int = int;
using G4double = double;
using G4String = std::string;
using G4ExceptionDescription = std::ostringstream;

#define G4cout std::cout
#define G4endl std::endl
#define FALSE false

inline constexpr G4double MeV = 1, GeV = 1000, mm = 1, cm = 10, m = 1000;

enum G4ExceptionSeverity { FatalException, FatalErrorInArgument, RunMustBeAborted, EventMustBeAborted, JustWarning, IgnoreTheIssue };

/// Thrown where Geant4 would stop or abort, so that a test can catch it.
struct StubException : std::runtime_error {
  StubException(const std::string& text, G4ExceptionSeverity level) : std::runtime_error(text), severity(level) {}
  G4ExceptionSeverity severity;
};

inline void G4Exception(const char* origin, const char* code, G4ExceptionSeverity severity, const char* text) {
  throw StubException(std::string(origin) + " " + code + " " + text, severity);
}

// ---- vectors, solids, volumes

class G4ThreeVector {
 public:
  G4ThreeVector(double x = 0, double y = 0, double z = 0) : x_(x), y_(y), z_(z) {}
  double x() const { return x_; }
  double y() const { return y_; }
  double z() const { return z_; }
  double mag() const { return std::sqrt(x_ * x_ + y_ * y_ + z_ * z_); }
  double theta() const { return std::atan2(std::hypot(x_, y_), z_); }
  double phi() const { return std::atan2(y_, x_); }
  double eta() const { return -std::log(std::tan(0.5 * theta())); }

 private:
  double x_, y_, z_;
};

inline G4ThreeVector operator+(const G4ThreeVector& a, const G4ThreeVector& b) { return {a.x() + b.x(), a.y() + b.y(), a.z() + b.z()}; }
inline G4ThreeVector operator-(const G4ThreeVector& a, const G4ThreeVector& b) { return {a.x() - b.x(), a.y() - b.y(), a.z() - b.z()}; }
inline G4ThreeVector operator*(double f, const G4ThreeVector& a) { return {f * a.x(), f * a.y(), f * a.z()}; }

enum EInside { kOutside, kSurface, kInside };
enum EAxis { kXAxis, kYAxis, kZAxis };

class G4VSolid {
 public:
  virtual ~G4VSolid() = default;
  virtual EInside Inside(const G4ThreeVector& p) const = 0;
  virtual G4double DistanceToOut(const G4ThreeVector& p, const G4ThreeVector& v, const G4bool calcNorm = false,
                                 G4bool* validNorm = nullptr, G4ThreeVector* n = nullptr) const = 0;
};

class G4Box : public G4VSolid {
 public:
  G4Box(const G4String&, G4double x, G4double y, G4double z) : half_{x, y, z} {}

  EInside Inside(const G4ThreeVector& p) const override {
    const double out = std::max({std::abs(p.x()) - half_[0], std::abs(p.y()) - half_[1], std::abs(p.z()) - half_[2]});
    return out > 0.5e-9 ? kOutside : out < -0.5e-9 ? kInside : kSurface;
  }

  G4double DistanceToOut(const G4ThreeVector& p, const G4ThreeVector& v, const G4bool, G4bool*, G4ThreeVector*) const override {
    double distance = std::numeric_limits<double>::infinity();
    const std::array<double, 3> from{p.x(), p.y(), p.z()}, along{v.x(), v.y(), v.z()};
    for (std::size_t k = 0; k < 3; ++k)
      if (along[k] != 0) distance = std::min(distance, (std::copysign(half_[k], along[k]) - from[k]) / along[k]);
    return std::max(distance, 0.0);
  }

 private:
  std::array<double, 3> half_;
};

class G4Material;
class G4VSensitiveDetector;
class G4VPhysicalVolume;
class G4RotationMatrix;

class G4NistManager {
 public:
  static G4NistManager* Instance();
  G4Material* FindOrBuildMaterial(const G4String& name, G4bool isotopes = true, G4bool warning = false);
};

class G4LogicalVolume {
 public:
  G4LogicalVolume(G4VSolid* solid, G4Material* material, const G4String& name);
};

class G4VPhysicalVolume {};

class G4PVPlacement : public G4VPhysicalVolume {
 public:
  G4PVPlacement(G4RotationMatrix* rotation, const G4ThreeVector& place, G4LogicalVolume* volume, const G4String& name,
                G4LogicalVolume* mother, G4bool many, G4int copy, G4bool check = false);
};

class G4PVReplica : public G4VPhysicalVolume {
 public:
  G4PVReplica(const G4String& name, G4LogicalVolume* volume, G4LogicalVolume* mother, const EAxis axis, const G4int copies,
              const G4double width, const G4double offset = 0);
};

class G4Region {
 public:
  explicit G4Region(const G4String&) {}
  void AddRootLogicalVolume(G4LogicalVolume* volume, G4bool search = true);
};
using G4Envelope = G4Region;

// ---- particles, tracks, steps, events

class G4ParticleDefinition {
 public:
  G4ParticleDefinition(const G4String& name, G4int code) : name_(name), code_(code) {}
  const G4String& GetParticleName() const { return name_; }
  G4int GetPDGEncoding() const { return code_; }

 private:
  G4String name_;
  G4int code_;
};

class G4Track {
 public:
  const G4ParticleDefinition* definition = nullptr;
  G4ThreeVector position, direction;
  double kinetic_energy = 0, mass = 0;
  int id = 1;

  const G4ParticleDefinition* GetParticleDefinition() const { return definition; }
  G4ParticleDefinition* GetDefinition() const { return const_cast<G4ParticleDefinition*>(definition); }
  const G4ThreeVector& GetPosition() const { return position; }
  const G4ThreeVector& GetMomentumDirection() const { return direction; }
  G4ThreeVector GetMomentum() const { return std::sqrt(kinetic_energy * (kinetic_energy + 2 * mass)) * direction; }
  G4double GetKineticEnergy() const { return kinetic_energy; }
  G4int GetTrackID() const { return id; }
};

/// An envelope that is shifted against the world.
class G4FastTrack {
 public:
  G4FastTrack(const G4Track& track, const G4VSolid& solid, const G4ThreeVector& shift) : track_(&track), solid_(&solid), shift_(shift) {}
  const G4Track* GetPrimaryTrack() const { return track_; }
  G4VSolid* GetEnvelopeSolid() const { return const_cast<G4VSolid*>(solid_); }
  G4ThreeVector GetPrimaryTrackLocalPosition() const { return track_->position - shift_; }
  G4ThreeVector GetPrimaryTrackLocalDirection() const { return track_->direction; }
  const G4ThreeVector& shift() const { return shift_; }

 private:
  const G4Track* track_;
  const G4VSolid* solid_;
  G4ThreeVector shift_;
};

class G4FastStep {
 public:
  bool killed = false;
  double deposited = 0, path = -1;
  void KillPrimaryTrack() { killed = true; }
  void ProposePrimaryTrackPathLength(G4double length) { path = length; }
  void ProposeTotalEnergyDeposited(G4double energy) { deposited = energy; }
};

class G4Step {
 public:
  G4double GetTotalEnergyDeposit() const;
};

class G4Event {
 public:
  explicit G4Event(G4int id = 0) : id_(id) {}
  G4int GetEventID() const { return id_; }

 private:
  G4int id_;
};

class G4Run {
 public:
  G4int id = 0;
  G4int GetRunID() const { return id; }
};

class G4EventManager {
 public:
  G4Event event;
  static G4EventManager* GetEventManager() {
    static thread_local G4EventManager manager;
    return &manager;
  }
  const G4Event* GetConstCurrentEvent() { return &event; }
};

class G4VUserDetectorConstruction;
class G4VUserPhysicsList;
class G4VUserActionInitialization;

class G4RunManager {
 public:
  G4Run run;
  virtual ~G4RunManager() = default;
  static G4RunManager* GetRunManager() {
    static thread_local G4RunManager manager;
    return &manager;
  }
  const G4Run* GetCurrentRun() const { return &run; }
  void SetUserInitialization(G4VUserDetectorConstruction*);
  void SetUserInitialization(G4VUserPhysicsList*);
  void SetUserInitialization(G4VUserActionInitialization*);
  void Initialize();
};

enum class G4RunManagerType { Default };

class G4RunManagerFactory {
 public:
  static G4RunManager* CreateRunManager(G4RunManagerType type);
};

/// The engine of a thread.
class StubEngine {
 public:
  double flat() { return std::uniform_real_distribution<double>()(bits_); }
  void seed(unsigned value) { bits_.seed(value); }

 private:
  std::mt19937_64 bits_;
};

class G4Random {
 public:
  static StubEngine* getTheEngine() {
    static thread_local StubEngine engine;
    return &engine;
  }
};

// ---- fast simulation

class G4VFastSimulationModel {
 public:
  explicit G4VFastSimulationModel(const G4String& name) : name_(name) {}
  G4VFastSimulationModel(const G4String& name, G4Envelope*, G4bool = FALSE) : name_(name) {}
  virtual ~G4VFastSimulationModel() = default;
  virtual G4bool IsApplicable(const G4ParticleDefinition&) = 0;
  virtual G4bool ModelTrigger(const G4FastTrack&) = 0;
  virtual void DoIt(const G4FastTrack&, G4FastStep&) = 0;
  virtual G4bool AtRestModelTrigger(const G4FastTrack&) { return false; }
  virtual void AtRestDoIt(const G4FastTrack&, G4FastStep&) {}
  virtual void Flush() {}
  const G4String GetName() const { return name_; }

 private:
  G4String name_;
};

class G4FastHit {
 public:
  G4FastHit(const G4ThreeVector& position, G4double energy) : energy_(energy), position_(position) {}
  virtual ~G4FastHit() = default;
  G4double GetEnergy() const { return energy_; }
  G4ThreeVector GetPosition() const { return position_; }

 private:
  G4double energy_;
  G4ThreeVector position_;
};

/// Keeps the deposits of a thread, in coordinates of the world. As in Geant4, the first deposit of each object is put at the
/// position of the track.
class G4FastSimHitMaker {
 public:
  struct Deposit {
    G4ThreeVector position;
    double energy;
  };
  static std::vector<Deposit>& deposits() {
    static thread_local std::vector<Deposit> all;
    return all;
  }
  void make(const G4FastHit& hit, const G4FastTrack& track) {
    if (hit.GetEnergy() <= 0) return;
    deposits().push_back({first_ ? track.GetPrimaryTrack()->GetPosition() : hit.GetPosition() + track.shift(), hit.GetEnergy()});
    first_ = false;
  }
  void SetNameOfWorldWithSD(const G4String&) {}

 private:
  bool first_ = true;
};

class G4TouchableHistory;
class G4HCofThisEvent;

class G4VSensitiveDetector {
 public:
  explicit G4VSensitiveDetector(G4String name);
  virtual ~G4VSensitiveDetector();
  virtual void Initialize(G4HCofThisEvent*);
  virtual void EndOfEvent(G4HCofThisEvent*);

 protected:
  virtual G4bool ProcessHits(G4Step* step, G4TouchableHistory* history) = 0;
};

class G4VFastSimSensitiveDetector {
 public:
  virtual ~G4VFastSimSensitiveDetector() = default;

 private:
  virtual G4bool ProcessHits(const G4FastHit* hit, const G4FastTrack* track, G4TouchableHistory* history) = 0;
};

class G4SDManager {
 public:
  static G4SDManager* GetSDMpointer();
  void AddNewDetector(G4VSensitiveDetector* detector);
};

// ---- commands

class G4UImessenger;

class G4UIcommand {
 public:
  G4UIcommand(const char* name, G4UImessenger* owner, G4bool send = true);
  virtual ~G4UIcommand();
  G4UIcommand(const G4UIcommand&) = delete;
  G4UIcommand& operator=(const G4UIcommand&) = delete;
  void SetGuidance(const char* text) { guidance = text; }
  void SetToBeBroadcasted(G4bool value) { broadcast = value; }
  void CommandFailed(G4ExceptionDescription& description) { failure = description.str(); }

  std::string path, guidance, failure, candidates;
  bool broadcast;
  G4UImessenger* messenger;
};

class G4UImessenger {
 public:
  virtual ~G4UImessenger() = default;
  virtual void SetNewValue(G4UIcommand*, G4String) {}
};

class G4UIdirectory : public G4UIcommand {
 public:
  explicit G4UIdirectory(const char* name, G4bool send = true) : G4UIcommand(name, nullptr, send) {}
};

class G4UIcmdWithoutParameter : public G4UIcommand {
 public:
  G4UIcmdWithoutParameter(const char* name, G4UImessenger* owner) : G4UIcommand(name, owner) {}
};

class G4UIcmdWithAString : public G4UIcommand {
 public:
  G4UIcmdWithAString(const char* name, G4UImessenger* owner) : G4UIcommand(name, owner) {}
  void SetParameterName(const char*, G4bool, G4bool = false) {}
  void SetCandidates(const char* list) { candidates = list; }
};

class G4UIcmdWithADoubleAndUnit : public G4UIcommand {
 public:
  G4UIcmdWithADoubleAndUnit(const char* name, G4UImessenger* owner) : G4UIcommand(name, owner) {}
  void SetParameterName(const char*, G4bool, G4bool = false) {}
  void SetUnitCategory(const char*) {}
  static G4double GetNewDoubleValue(const char* text) {
    std::istringstream stream(text);
    double value = 0;
    std::string unit;
    stream >> value >> unit;
    const std::map<std::string, double> units{{"MeV", MeV}, {"GeV", GeV}, {"mm", mm}, {"cm", cm}, {"m", m}};
    return value * units.at(unit);
  }
};

/// The commands of a thread.
class G4UImanager {
 public:
  std::map<std::string, G4UIcommand*> commands;
  static G4UImanager* GetUIpointer() {
    static thread_local G4UImanager manager;
    return &manager;
  }
  /// Run a command. Returns 0, or 1 if there is no such command, 2 if its value is not a candidate, 3 if it failed.
  G4int ApplyCommand(const G4String& line) {
    const std::string name = line.substr(0, line.find(' '));
    const std::string value = name.size() < line.size() ? line.substr(name.size() + 1) : "";
    const auto place = commands.find(name);
    if (place == commands.end()) return 1;
    G4UIcommand& command = *place->second;
    if (!command.candidates.empty() && (" " + command.candidates + " ").find(" " + value + " ") == std::string::npos) return 2;
    command.failure.clear();
    command.messenger->SetNewValue(&command, value);
    return command.failure.empty() ? 0 : 3;
  }
};

inline G4UIcommand::G4UIcommand(const char* name, G4UImessenger* owner, G4bool send) : path(name), broadcast(send), messenger(owner) {
  G4UImanager::GetUIpointer()->commands[path] = this;
}
inline G4UIcommand::~G4UIcommand() { G4UImanager::GetUIpointer()->commands.erase(path); }

// ---- used by the example only

class G4VUserDetectorConstruction {
 public:
  virtual ~G4VUserDetectorConstruction();
  virtual G4VPhysicalVolume* Construct() = 0;
  virtual void ConstructSDandField();

 protected:
  void SetSensitiveDetector(G4LogicalVolume* volume, G4VSensitiveDetector* detector);
};

class G4VUserPrimaryGeneratorAction {
 public:
  virtual ~G4VUserPrimaryGeneratorAction();
  virtual void GeneratePrimaries(G4Event* event) = 0;
};

class G4VUserActionInitialization {
 public:
  virtual ~G4VUserActionInitialization();
  virtual void Build() const = 0;

 protected:
  void SetUserAction(G4VUserPrimaryGeneratorAction*) const;
};

class G4ParticleTable {
 public:
  static G4ParticleTable* GetParticleTable();
  G4ParticleDefinition* FindParticle(const G4String& name);
};

class G4ParticleGun {
 public:
  explicit G4ParticleGun(G4int particles);
  void SetParticleDefinition(G4ParticleDefinition* particle);
  void SetParticleEnergy(G4double energy);
  void SetParticlePosition(G4ThreeVector position);
  void SetParticleMomentumDirection(G4ThreeVector direction);
  void GeneratePrimaryVertex(G4Event* event);
};

class G4VPhysicsConstructor {};

class G4FastSimulationPhysics : public G4VPhysicsConstructor {
 public:
  explicit G4FastSimulationPhysics(const G4String& name = "FastSimP");
  void ActivateFastSimulation(const G4String& particle, G4String parallel = "");
};

class G4VUserPhysicsList {
 public:
  virtual ~G4VUserPhysicsList();
};

class FTFP_BERT : public G4VUserPhysicsList {
 public:
  explicit FTFP_BERT(G4int verbose = 1);
  void RegisterPhysics(G4VPhysicsConstructor* physics);
};

#endif  // HEPGAN_GEANT4_STUBS_HPP
