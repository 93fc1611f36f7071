// Showers of a hepgan model in Geant4: the calorimeter of the shipped samples, full or fast simulation of positrons.
//
//   example MODEL.onnx [MACRO]       # without a macro: 10 showers of 10 GeV, fast and then in full
#include <FTFP_BERT.hh>
#include <G4Box.hh>
#include <G4FastHit.hh>
#include <G4FastSimulationPhysics.hh>
#include <G4FastTrack.hh>
#include <G4LogicalVolume.hh>
#include <G4NistManager.hh>
#include <G4PVPlacement.hh>
#include <G4PVReplica.hh>
#include <G4ParticleGun.hh>
#include <G4ParticleTable.hh>
#include <G4Region.hh>
#include <G4RunManager.hh>
#include <G4RunManagerFactory.hh>
#include <G4SDManager.hh>
#include <G4Step.hh>
#include <G4SystemOfUnits.hh>
#include <G4UImanager.hh>
#include <G4VFastSimSensitiveDetector.hh>
#include <G4VSensitiveDetector.hh>
#include <G4VUserActionInitialization.hh>
#include <G4VUserDetectorConstruction.hh>
#include <G4VUserPrimaryGeneratorAction.hh>
#include <G4ios.hh>

#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hepgan/generator.hpp"
#include "hepgan/geant4.hpp"

namespace {

// CaloGAN's calorimeter (arXiv:1705.02355): 80 modules of lead and liquid argon, from -240 to 240 mm
constexpr int n_modules = 80;
constexpr double lead = 2 * mm, argon = 4 * mm, width = 1000 * mm;
constexpr double depth = n_modules * (lead + argon);

/// A sensitive detector that sums the energies deposited by full and by fast simulation, and prints them after each event.
class Cells : public G4VSensitiveDetector, public G4VFastSimSensitiveDetector {
 public:
  Cells() : G4VSensitiveDetector("cells") {}
  void Initialize(G4HCofThisEvent*) override { full_ = fast_ = 0; }
  void EndOfEvent(G4HCofThisEvent*) override {
    G4cout << "full simulation " << full_ / GeV << " GeV, fast simulation " << fast_ / GeV << " GeV" << G4endl;
  }

 private:
  G4bool ProcessHits(G4Step* step, G4TouchableHistory*) override {
    full_ += step->GetTotalEnergyDeposit();
    return true;
  }
  G4bool ProcessHits(const G4FastHit* hit, const G4FastTrack*, G4TouchableHistory*) override {
    fast_ += hit->GetEnergy();
    return true;
  }

  double full_ = 0, fast_ = 0;
};

class Detector : public G4VUserDetectorConstruction {
 public:
  explicit Detector(std::string model) : model_(std::move(model)) {}

  G4VPhysicalVolume* Construct() override {
    G4NistManager* materials = G4NistManager::Instance();
    G4Material* air = materials->FindOrBuildMaterial("G4_AIR");
    const auto box = [&](const char* name, double across, double along, const char* material) {
      return new G4LogicalVolume(new G4Box(name, 0.5 * across, 0.5 * across, 0.5 * along), materials->FindOrBuildMaterial(material), name);
    };
    auto* world = new G4LogicalVolume(new G4Box("world", width, width, width), air, "world");
    G4LogicalVolume* calorimeter = box("calorimeter", width, depth, "G4_AIR");
    G4LogicalVolume* module = box("module", width, lead + argon, "G4_AIR");
    volumes_ = {box("lead", width, lead, "G4_Pb"), box("argon", width, argon, "G4_lAr")};
    new G4PVPlacement(nullptr, {}, calorimeter, "calorimeter", world, false, 0);
    new G4PVReplica("module", module, calorimeter, kZAxis, n_modules, lead + argon);
    new G4PVPlacement(nullptr, {0, 0, -0.5 * argon}, volumes_[0], "lead", module, false, 0);
    new G4PVPlacement(nullptr, {0, 0, 0.5 * lead}, volumes_[1], "argon", module, false, 0);
    envelope_ = new G4Region("calorimeter");
    envelope_->AddRootLogicalVolume(calorimeter);
    return new G4PVPlacement(nullptr, {}, world, "world", nullptr, false, 0);
  }

  /// Called in each thread. Each thread makes its own model object; all share the generator.
  void ConstructSDandField() override {
    auto* cells = new Cells;
    G4SDManager::GetSDMpointer()->AddNewDetector(cells);
    for (G4LogicalVolume* volume : volumes_) SetSensitiveDetector(volume, cells);
    new hepgan::FastSimulation("showers", envelope_, hepgan::share<hepgan::Generator>(model_), {"e+"});
  }

 private:
  std::string model_;
  std::vector<G4LogicalVolume*> volumes_;
  G4Region* envelope_ = nullptr;
};

/// A gun of positrons at normal incidence; the commands /gun/... change it.
class Gun : public G4VUserPrimaryGeneratorAction {
 public:
  Gun() {
    gun_.SetParticleDefinition(G4ParticleTable::GetParticleTable()->FindParticle("e+"));
    gun_.SetParticleEnergy(10 * GeV);
    gun_.SetParticlePosition({0, 0, -0.5 * depth - 1 * cm});
    gun_.SetParticleMomentumDirection({0, 0, 1});
  }
  void GeneratePrimaries(G4Event* event) override { gun_.GeneratePrimaryVertex(event); }

 private:
  G4ParticleGun gun_{1};
};

class Actions : public G4VUserActionInitialization {
 public:
  void Build() const override { SetUserAction(new Gun); }
};

int run(const std::string& model, const std::string& macro) {
  const std::unique_ptr<G4RunManager> manager(G4RunManagerFactory::CreateRunManager(G4RunManagerType::Default));
  manager->SetUserInitialization(new Detector(model));
  auto* physics = new FTFP_BERT(0);
  auto* fast = new G4FastSimulationPhysics;
  fast->ActivateFastSimulation("e+");
  physics->RegisterPhysics(fast);
  manager->SetUserInitialization(physics);
  manager->SetUserInitialization(new Actions);
  manager->Initialize();
  G4UImanager* commands = G4UImanager::GetUIpointer();
  const std::vector<std::string> lines =
      macro.empty() ? std::vector<std::string>{"/run/beamOn 10", "/hepgan/showers/statistics", "/param/InActivateModel showers", "/run/beamOn 10"}
                    : std::vector<std::string>{"/control/execute " + macro};
  for (const std::string& line : lines)
    if (const int code = commands->ApplyCommand(line); code != 0) return code;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) return std::cerr << "usage: example MODEL.onnx [MACRO]\n", 2;
  try {
    return run(argv[1], argc > 2 ? argv[2] : "");
  } catch (const std::exception& error) {
    std::cerr << "example: " << error.what() << "\n";
    return 2;
  }
}
