// hepgan-fire: fires electrons of several energies and angles into a calorimeter, and writes their hits as CSV.
//
//   hepgan-fire MODEL.onnx HITS.csv [EVENTS [SEED]]
//
// Shows each step of a framework with a model of showers: conditions, noise keyed by the event, hits in the world.
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "hepgan/generator.hpp"
#include "hepgan/hits.hpp"

namespace {

constexpr std::size_t n_energies = 5;
constexpr std::array<double, 4> angles{0, 0.2, 0.4, 0.6};  // from the z axis, rad
constexpr double threshold = 0.1;                          // MeV

/// Conditions of an event: the first one takes five values across its range, with equal ratios; the others stay in the middle.
std::vector<float> conditions(const hepgan::Generator& generator, std::size_t event) {
  std::vector<float> row;
  for (const hepgan::Condition& c : generator.conditions())
    row.push_back(static_cast<float>(c.categories.empty() ? 0.5 * (c.low + c.high) : c.categories.front().second));
  const hepgan::Condition& c = generator.conditions().front();
  const double fraction = (static_cast<double>(event % n_energies) + 0.5) / static_cast<double>(n_energies);
  row.front() = static_cast<float>(c.low * std::pow(c.high / c.low, fraction));
  return row;
}

/// Direction of the particle of an event: one of the angles to the z axis, at an azimuth that differs from event to event.
hepgan::Vector3 direction(std::size_t event) {
  const double theta = angles[event / n_energies % angles.size()], phi = 2.4 * static_cast<double>(event);
  return {std::sin(theta) * std::cos(phi), std::sin(theta) * std::sin(phi), std::cos(theta)};
}

void fire(const std::string& model, const std::string& path, std::size_t n, std::uint64_t seed) {
  const hepgan::Generator generator(model);
  const hepgan::HitMaker maker(generator, threshold);
  const hepgan::Vector3 entry{0, 0, 0};  // mm
  std::ofstream file(path);
  file << "event,cell,layer,i,j,x,y,z,energy\n" << std::setprecision(9);
  std::vector<float> shower(generator.width());
  std::vector<hepgan::Hit> hits;
  std::size_t n_hits = 0;
  double above = 0, below = 0;
  for (std::size_t event = 0; event < n; ++event) {
    generator.generate(conditions(generator, event), hepgan::Key{seed, 0, event, 0}, shower);
    hits.clear();
    below += maker.make({shower.data(), generator.n_cells()}, {generator.layers(), entry, direction(event)}, hits);
    for (const hepgan::Hit& hit : hits) {
      above += hit.energy;
      file << event << ',' << hit.cell << ',' << hit.layer << ',' << hit.i << ',' << hit.j << ',' << hit.x << ',' << hit.y << ','
           << hit.z << ',' << hit.energy << '\n';
    }
    n_hits += hits.size();
  }
  file.close();
  if (!file) throw std::runtime_error(path + ": expected to write all hits, could not; is the disk full, does the folder exist?");
  std::cout << n << " showers, " << n_hits << " hits above " << threshold << " MeV\n"
            << std::setprecision(9) << "energy of the hits    " << above << " MeV\nbelow the threshold   " << below << " MeV\n";
}

std::uint64_t whole(const std::string& name, const std::string& text) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string::npos)
    throw std::invalid_argument(name + ": expected a whole number, got '" + text + "'");
  return std::stoull(text);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 5) return std::cerr << "usage: hepgan-fire MODEL.onnx HITS.csv [EVENTS [SEED]]\n", 2;
  try {
    fire(argv[1], argv[2], argc > 3 ? whole("EVENTS", argv[3]) : 1000, argc > 4 ? whole("SEED", argv[4]) : 1);
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::cerr << "hepgan-fire: " << error.what() << "\n";
    return 2;
  }
}
