// Tests of hepgan/geant4.hpp against stand-ins for Geant4 (geant4_stubs/README.md): test_geant4 TEST...
#include <cmath>
#include <exception>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "harness.hpp"
#include "hepgan/geant4.hpp"
#include "toy_network.hpp"

namespace {

using Model = hepgan::FastSimulation<ToyGenerator>;
using Deposits = std::vector<G4FastSimHitMaker::Deposit>;

const G4ParticleDefinition electron("e-", 11), positron("e+", -11), photon("gamma", 22), pion("pi-", -211);
const G4Box box("envelope", 200, 200, 60);  // half lengths; the toy's layers are 100 mm deep
const G4ThreeVector shift(1000, 0, 50);     // of the envelope in the world

void require_stop(const std::function<void()>& function, const std::string& part, G4ExceptionSeverity severity) {
  try {
    function();
  } catch (const StubException& error) {
    const std::string got = error.what();
    return require(error.severity == severity && contains(got, part), "'" + part + "', got '" + got + "'");
  }
  throw std::runtime_error("expected Geant4 to be stopped with '" + part + "'");
}

/// A particle in the middle of the front face, going in.
G4Track entering(double energy = 10 * GeV, const G4ParticleDefinition& particle = electron) {
  G4Track track;
  track.definition = &particle;
  track.kinetic_energy = energy;
  track.position = shift + G4ThreeVector(0, 0, -60);
  track.direction = {0, 0, 1};
  return track;
}

G4FastTrack fast(const G4Track& track) { return {track, box, shift}; }

/// Offer a track to the model as Geant4 does. Returns whether the model took it, and its deposits without the negligible first one.
bool offer(Model& model, const G4Track& track, Deposits* deposits = nullptr, G4FastStep* result = nullptr) {
  if (!model.IsApplicable(*track.definition) || !model.ModelTrigger(fast(track))) return false;
  G4FastStep step;
  G4FastSimHitMaker::deposits().clear();
  model.DoIt(fast(track), step);
  require(step.killed && step.path == 0, "the track killed where it is");
  if (result != nullptr) *result = step;
  if (deposits == nullptr) return true;
  deposits->clear();
  for (const auto& deposit : G4FastSimHitMaker::deposits())
    if (deposit.energy > std::numeric_limits<double>::min()) deposits->push_back(deposit);
  return true;
}

double sum(const Deposits& deposits) {
  double result = 0;
  for (const auto& deposit : deposits) result += deposit.energy;
  return result;
}

bool same(const Deposits& a, const Deposits& b) {
  if (a.size() != b.size() || a.empty()) return false;
  for (std::size_t k = 0; k < a.size(); ++k)
    if (a[k].energy != b[k].energy || (a[k].position - b[k].position).mag() != 0) return false;
  return true;
}

std::shared_ptr<const ToyGenerator> toy(const std::string& path = "toy") { return hepgan::share<ToyGenerator>(path); }

void energy() {
  hepgan::FastSimulation model("energy", static_cast<G4Envelope*>(nullptr), toy(), {"e-"});  // the generator's type is deduced
  const G4Track track = entering();
  G4EventManager::GetEventManager()->event = G4Event(7);
  Deposits deposits;
  G4FastStep step;
  require(offer(model, track, &deposits, &step), "a shower");
  const hepgan::Showers expected = toy()->generate({10.0F, 0.0F}, hepgan::Key{1, 0, 7, 1});
  const double cells = 1000 * expected.cells(0).sum();
  require(std::abs(sum(deposits) - cells) < 1e-9 * cells, "deposits that sum to the cells");
  require(step.deposited == track.kinetic_energy, "all energy accounted for");
  // the toy's energy is zero in every fifth cell
  require(deposits.size() == 24, "a deposit for each cell above zero");
  require((deposits[0].position - (shift + G4ThreeVector(-20, -2, -55))).mag() < 1e-12, "cell (0, 1) of layer 0 in the world");
  model.set_threshold(500);
  Deposits above;
  require(offer(model, track, &above) && !above.empty() && above.size() < deposits.size(), "fewer deposits");
  for (const auto& deposit : above) require(deposit.energy > 500, "deposits above the threshold");
  require(model.counts().showers == 2 && model.counts().failed == 0, "two showers counted");
}

void particles() {
  Model model("particles", nullptr, toy(), {"e-", "gamma"});
  require(model.IsApplicable(electron) && model.IsApplicable(photon) && !model.IsApplicable(positron), "particles by name");
  Model species("species", nullptr, toy("species"));
  require(species.IsApplicable(electron) && species.IsApplicable(positron) && !species.IsApplicable(pion), "particles by code");
  Deposits of_photon, of_electron;
  require(offer(species, entering(10 * GeV, photon), &of_photon) && offer(species, entering(10 * GeV), &of_electron), "showers of both");
  const double expected = 1000 * toy("species")->generate({10.0F, 22.0F}, hepgan::Key{1, 0, 0, 1}).cells(0).sum();
  require(std::abs(sum(of_photon) - expected) < 1e-9 * expected, "the code as condition");
  Model some("some", nullptr, toy("species"), {"e+"});
  require(some.IsApplicable(positron) && !some.IsApplicable(electron), "both rules");
  // Geant4 may still offer electrons after a command has removed them
  require(G4UImanager::GetUIpointer()->ApplyCommand("/hepgan/particles/particle gamma, e+") == 0, "the command");
  require(!model.ModelTrigger(fast(entering())) && model.ModelTrigger(fast(entering(10 * GeV, positron))), "particles asked again");
}

void trigger() {
  Model model("trigger", nullptr, toy(), {"e-"});
  const auto takes = [&](const G4Track& track) { return model.ModelTrigger(fast(track)); };
  G4Track track = entering();
  require(takes(track), "a particle that enters");
  track.position = shift;
  require(!takes(track), "none that is inside already");
  track = entering();
  track.position = track.position + G4ThreeVector(0, 0, -1e-6);
  require(!takes(track), "none that is outside");
  require(model.counts().out_of_range == 0 && model.counts().not_contained == 0, "only particles that enter counted");
  // trained from 1 to 65 GeV
  require(!takes(entering(0.99 * GeV)) && !takes(entering(65.1 * GeV)) && takes(entering(1 * GeV)) && takes(entering(65 * GeV)), "the range");
  require(model.counts().out_of_range == 2, "two counted");
  model.set_energies(5 * GeV, 20 * GeV);
  require(!takes(entering(4 * GeV)) && !takes(entering(21 * GeV)) && takes(entering(20 * GeV)), "the limits");
  // trained to theta = 0.5
  track = entering();
  track.direction = {std::sin(0.6), 0, std::cos(0.6)};
  require(!takes(track) && model.counts().out_of_range == 5, "other conditions");
  // the envelope is 120 mm deep: the toy's 100 mm fit, 121 mm do not, nor does a shower that leaves through the side
  track.direction = {std::sin(0.4), 0, std::cos(0.4)};
  require(takes(track), "a tilted particle in the middle");
  track.position = shift + G4ThreeVector(190, 0, -60);
  require(!takes(track) && model.counts().not_contained == 1, "one that leaves through the side");
  track = entering();
  model.set_depth(120);
  require(takes(track), "an envelope that just fits");
  model.set_depth(121);
  require(!takes(track) && model.counts().not_contained == 2, "one that is too short");
  model.set_depth(100);
  track.position = shift + G4ThreeVector(150, 0, -60);
  model.set_margin(49);
  require(takes(track), "room to the side");
  model.set_margin(51);
  require(!takes(track) && model.counts().not_contained == 3, "too little room to the side");
  track.position = shift + G4ThreeVector(0, -150, -60);
  require(!takes(track), "too little room below");
  require(model.counts().showers == 0, "no shower yet");
}

void frames() {
  Model model("frames", nullptr, toy(), {"e-"});
  G4Track track = entering();
  track.direction = {std::sin(0.3), 0, std::cos(0.3)};
  const auto mean = [&] {
    Deposits deposits;
    require(offer(model, track, &deposits), "a shower");
    G4ThreeVector result;
    for (const auto& deposit : deposits) result = result + deposit.energy / sum(deposits) * (deposit.position - track.position);
    return result;
  };
  const G4ThreeVector along = mean();
  model.set_axis(Model::Axis::envelope);
  const G4ThreeVector straight = mean();
  // the same shower, turned around y
  const G4ThreeVector turned(straight.x() * std::cos(0.3) + straight.z() * std::sin(0.3), straight.y(),
                             straight.z() * std::cos(0.3) - straight.x() * std::sin(0.3));
  require(straight.z() > 10 && (along - turned).mag() < 1e-9, "the shower along the particle, or along z of the envelope");
  model.set_frame([](const G4FastTrack&) { return hepgan::Frame(-20, {0, 0, -60}, {0, 0, 1}); });
  track.position = track.position + G4ThreeVector(30, 0, 0);
  require((mean() + G4ThreeVector(30, 0, 0) - straight).mag() < 1e-9, "a frame of the user's own");
}

void noise() {
  Model model("noise", nullptr, toy(), {"e-"});
  const auto shower = [&](int event, int id) {
    G4EventManager::GetEventManager()->event = G4Event(event);
    G4Track track = entering();
    track.id = id;
    Deposits deposits;
    require(offer(model, track, &deposits), "a shower");
    return deposits;
  };
  const Deposits first = shower(3, 4);
  require(!same(first, shower(4, 4)) && !same(first, shower(3, 5)) && same(first, shower(3, 4)), "showers that belong to their tracks");
  G4RunManager::GetRunManager()->run.id = 1;
  require(!same(first, shower(3, 4)), "another run, another shower");
  G4RunManager::GetRunManager()->run.id = 0;
  model.set_noise(Model::Noise::keyed, 2);
  require(!same(first, shower(3, 4)), "another seed, another shower");
  model.set_key([](const G4FastTrack&) { return hepgan::Key{1, 0, 3, 4}; });
  require(same(first, shower(8, 9)), "keys of the user's own");
  model.set_noise(Model::Noise::engine);
  G4Random::getTheEngine()->seed(1);
  const Deposits drawn = shower(3, 4);
  require(!same(drawn, shower(3, 4)), "the engine goes on");
  G4Random::getTheEngine()->seed(1);
  require(same(drawn, shower(5, 6)), "the engine alone decides");
}

void threads() {
  constexpr int n_threads = 2, n_events = 50;
  std::vector<std::map<int, Deposits>> results(n_threads + 1);
  const std::shared_ptr<const ToyGenerator> shared = toy();
  const auto work = [&](std::size_t worker, int first, int step) {
    Model model("threads", nullptr, toy(), {"e-"});  // each thread its own, one generator
    for (int event = first; event < n_events; event += step) {
      G4EventManager::GetEventManager()->event = G4Event(event);
      require(offer(model, entering((1 + event) * GeV), &results[worker][event]), "a shower");
    }
  };
  std::vector<std::thread> pool;
  for (int k = 0; k < n_threads; ++k) pool.emplace_back([&, k] { work(static_cast<std::size_t>(k), k, n_threads); });
  for (std::thread& thread : pool) thread.join();
  work(n_threads, 0, 1);
  for (int event = 0; event < n_events; ++event)
    require(same(results[static_cast<std::size_t>(event % n_threads)][event], results[n_threads][event]), "the same hits from any thread");
  Model counter("threads", nullptr, toy(), {"e-"});
  require(counter.counts().showers == 2 * n_events, "showers of all threads counted");
  require(toy() == shared && hepgan::share<ToyGenerator>("another toy") != shared, "one generator for each path");
}

void commands() {
  Model model("bare", nullptr);
  G4UImanager& ui = *G4UImanager::GetUIpointer();
  const auto apply = [&](const std::string& line) { return ui.ApplyCommand("/hepgan/bare/" + line); };
  require(model.IsApplicable(pion), "to be asked, so that it can say what is missing");
  const auto ask = [&] { static_cast<void>(model.ModelTrigger(fast(entering()))); };
  require_stop(ask, "expected a model, got none; name it with /hepgan/bare/model", FatalErrorInArgument);
  require(apply("model toy") == 0, "a model");
  require_stop(ask, "expected particles, got none; name them with /hepgan/bare/particle", FatalErrorInArgument);
  require(apply("particle e-,e+") == 0 && model.IsApplicable(positron) && !model.IsApplicable(pion), "particles");
  require(model.ModelTrigger(fast(entering())), "ready");
  require(apply("minEnergy 20 GeV") == 0 && !model.ModelTrigger(fast(entering())), "a lower limit");
  require(apply("minEnergy 2 GeV") == 0 && apply("maxEnergy 9000 MeV") == 0 && !model.ModelTrigger(fast(entering())), "an upper limit");
  require(apply("maxEnergy 1000 GeV") == 0 && apply("depth 12.1 cm") == 0 && !model.ModelTrigger(fast(entering())), "a depth");
  require(apply("depth 1 cm") == 0 && apply("margin 30 cm") == 0 && !model.ModelTrigger(fast(entering())), "a margin");
  require(apply("margin 0 mm") == 0 && apply("axis envelope") == 0 && apply("axis beam") == 2, "an axis");
  Deposits one, other;
  require(apply("seed 5") == 0 && offer(model, entering(), &one) && apply("seed 6") == 0 && offer(model, entering(), &other), "showers");
  require(!same(one, other) && apply("seed 5") == 0 && offer(model, entering(), &other) && same(one, other), "a seed");
  require(apply("noise engine") == 0 && offer(model, entering(), &other) && !same(one, other) && apply("noise none") == 2, "noise");
  require(apply("threshold 1 GeV") == 0 && offer(model, entering(), &other) && other.size() < one.size(), "a threshold");
  const auto failure = [&](const std::string& name) { return ui.commands.at("/hepgan/bare/" + name)->failure; };
  require(apply("seed -1") == 3 && contains(failure("seed"), "expected a whole number"), "a bad seed refused");
  require(apply("seed 99999999999999999999") == 3 && contains(failure("seed"), "2^64 - 1, got '9"), "a seed that is too large refused");
  require(apply("threshold -1 MeV") == 3 && contains(failure("threshold"), ">= 0"), "a bad threshold refused");
  require(apply("model tracks") == 3 && contains(failure("model"), "expected a generator of showers"), "tracks refused");
  require(model.ModelTrigger(fast(entering())), "the model it had before");
  require(apply("statistics") == 0 && !ui.commands.at("/hepgan/bare/statistics")->broadcast, "statistics of all threads, once");
}

void conditions() {
  Model odd("odd", nullptr, toy("odd"), {"e-"});
  const auto ask = [&] { static_cast<void>(odd.ModelTrigger(fast(entering()))); };
  require_stop(ask, "condition 'tilt' in 'rad': expected a name and a unit that say what it is of a track", FatalErrorInArgument);
  double tilt = 0.2;
  odd.set_condition("tilt", [&](const G4FastTrack&) { return tilt; });
  Deposits deposits;
  require(offer(odd, entering(), &deposits), "a condition of the user's own");
  const double expected = 1000 * toy("odd")->generate({10.0F, 0.2F}, hepgan::Key{1, 0, 0, 1}).cells(0).sum();
  require(std::abs(sum(deposits) - expected) < 1e-9 * expected, "its value");
  tilt = 0.6;
  require(!offer(odd, entering()) && odd.counts().out_of_range == 1, "its range");
  G4Track track = entering();
  track.direction = {0, std::sin(0.5), std::cos(0.5)};
  track.mass = 0.5;
  const G4FastTrack there = fast(track);
  const auto value = [&](const char* name) { return hepgan::detail::track_quantity(name)->value(there); };
  require(value("incident_energy") == 10 * GeV && std::abs(value("theta") - 0.5) < 1e-15 && std::abs(value("phi") - std::asin(1)) < 1e-15 &&
              std::abs(value("eta") + std::log(std::tan(0.25))) < 1e-12 && value("z") == -60 && value("x") == 0 &&
              std::abs(value("p") - std::sqrt(10000.0 * 10001.0)) < 1e-8, "quantities of a track");
  require(hepgan::detail::track_quantity("weight") == nullptr, "no quantity of an unknown name");
  using hepgan::detail::unit_in_geant4;
  require(unit_in_geant4("GeV", 'E') == GeV && unit_in_geant4("cm", 'L') == cm && unit_in_geant4("", '1') == 1 &&
              unit_in_geant4("GeV", 'L') == 0 && unit_in_geant4("", 'E') == 0, "units");
}

void failures() {
  Model model("failures", nullptr, toy("broken"), {"e-"});
  require(offer(model, entering()), "a shower below 50 GeV");
  require_stop([&] { static_cast<void>(offer(model, entering(60 * GeV))); }, "failures: the toy broke", EventMustBeAborted);
  require(model.counts().failed == 1 && model.counts().showers == 1, "one failure counted");
  G4EventManager::GetEventManager()->event = G4Event(-1);
  require_stop([&] { static_cast<void>(offer(model, entering())); }, "key: expected a number of the event from 0 on, got -1", EventMustBeAborted);
}

/// A network that does not fit its description, with an error that is not hepgan's.
struct Misfit : ToyNetwork {
  using ToyNetwork::ToyNetwork;
  void prepare(const hepgan::Model&) const { throw std::runtime_error("it does not fit"); }
};

void errors() {
  const auto require_input = require_error<hepgan::InputError, std::invalid_argument>;
  require_input([] { Model("errors", nullptr, toy("tracks")); }, "hepgan: errors: expected a generator of showers");
  Model model("errors", nullptr, toy(), {"e-"});
  require_input([&] { model.use(nullptr); }, "expected a generator of showers, got one of tracks or none");
  require_input([&] { model.set_threshold(-1); }, "threshold: expected a finite number >= 0");
  const double nan = not_a_number;
  require_input([&] { model.set_energies(nan, 1); }, "smallest energy: expected a number, got nan");
  require_input([&] { model.set_energies(0, nan); }, "largest energy: expected a number, got nan");
  require_input([&] { model.set_depth(nan); }, "depth: expected a number, got nan");
  require_input([&] { model.set_margin(nan); }, "margin: expected a number, got nan");
  require_error<hepgan::ModelFileError, std::runtime_error>([] { hepgan::share<hepgan::BasicGenerator<Misfit>>("toy"); },
                                                            "hepgan: toy: it does not fit");
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, void (*)()> tests{{"energy", energy},     {"particles", particles}, {"trigger", trigger},
                                                {"frames", frames},     {"noise", noise},         {"threads", threads},
                                                {"commands", commands}, {"conditions", conditions}, {"failures", failures},
                                                {"errors", errors}};
  return run_tests(argc, argv, 1, "test_geant4 TEST...", [&](const std::string& name) {
    G4EventManager::GetEventManager()->event = G4Event();
    tests.at(name)();
  });
}
