// Tests of hepgan/hits.hpp: test_hits TEST...
#include <cmath>
#include <exception>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "harness.hpp"
#include "hepgan/hits.hpp"
#include "toy_network.hpp"

namespace {

constexpr auto require_message = ::require_message<hepgan::InputError>;

double dot(const hepgan::Vector3& a, const hepgan::Vector3& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

bool close(const hepgan::Vector3& a, const hepgan::Vector3& b, double within = 1e-12) {
  return std::abs(a[0] - b[0]) <= within && std::abs(a[1] - b[1]) <= within && std::abs(a[2] - b[2]) <= within;
}

/// Require axes of length one that are orthogonal and right-handed.
void require_rotation(const hepgan::Frame& f, const std::string& where) {
  const hepgan::Vector3 &x = f.x_axis(), &y = f.y_axis(), &z = f.z_axis();
  const double determinant = x[0] * (y[1] * z[2] - y[2] * z[1]) - x[1] * (y[0] * z[2] - y[2] * z[0]) + x[2] * (y[0] * z[1] - y[1] * z[0]);
  for (const double one : {dot(x, x), dot(y, y), dot(z, z), determinant}) require(std::abs(one - 1) <= 1e-14, "unit axes " + where);
  for (const double none : {dot(x, y), dot(y, z), dot(z, x)}) require(std::abs(none) <= 1e-15, "axes across each other " + where);
}

const hepgan::Vector3 origin{0, 0, 0};

void axes() {
  std::mt19937_64 engine(1);
  std::normal_distribution<double> normal;
  for (int k = 0; k < 1000; ++k) {
    // closer and closer to the poles; lengths over many decades
    const double tilt = std::pow(10.0, -0.02 * k), length = std::pow(10.0, 0.4 * (k % 500) - 100);
    const hepgan::Vector3 d{length * tilt * normal(engine), length * tilt * normal(engine), length * (k % 2 == 0 ? 1 : -1)};
    const hepgan::Frame frame(0, origin, d);
    require_rotation(frame, "at tilt " + std::to_string(tilt));
    const hepgan::Frame given(0, origin, d, {0.3, -0.2, 0.1});
    require_rotation(given, "with an axis");
    require(dot(given.x_axis(), {0.3, -0.2, 0.1}) > 0 && close(given.z_axis(), frame.z_axis()), "x along the axis given");
  }
  for (const double tiny : {0.0, 1e-320, 1e-200, 1e-17})
    for (const double z : {1.0, -1.0}) require_rotation({0, origin, {tiny, tiny, z}}, "at a pole");
  const hepgan::Frame straight(0, origin, {0, 0, 3}), back(0, origin, {0, 0, -3}), up(0, origin, {0, 2, 0});
  require(close(straight.x_axis(), {1, 0, 0}) && close(straight.y_axis(), {0, 1, 0}), "the world's axes along z");
  require(close(back.x_axis(), {-1, 0, 0}) && close(back.y_axis(), {0, 1, 0}), "half a turn around y against z");
  require(close(up.x_axis(), {1, 0, 0}) && close(up.y_axis(), {0, 0, -1}), "a quarter of a turn around x along y");
  // the smallest rotation keeps the axis that is orthogonal to both directions
  const hepgan::Frame frame(0, origin, {0.3, 0.4, -0.6});
  for (const double length : {1e-307, 1.7e308}) require(close(hepgan::Frame(0, origin, {0, 0, -length}).z_axis(), {0, 0, -1}), "lengths at the ends");
  const double subnormal = 1e-310;  // some compilers take it for zero with -ffast-math
  try {
    require(close(hepgan::Frame(0, origin, {0, 0, -subnormal}).z_axis(), {0, 0, -1}), "the smallest lengths");
  } catch (const hepgan::InputError&) {
  }
  const hepgan::Vector3 axis{-0.8, 0.6, 0};
  require(close({axis[0] * frame.x_axis()[0] + axis[1] * frame.y_axis()[0], axis[0] * frame.x_axis()[1] + axis[1] * frame.y_axis()[1],
                 axis[0] * frame.x_axis()[2] + axis[1] * frame.y_axis()[2]}, axis), "the rotation's axis stays");
  const hepgan::Frame phi(0, origin, {1, 1, 0}, {-1, 1, 0});
  require(close(phi.x_axis(), {-std::sqrt(0.5), std::sqrt(0.5), 0}) && close(phi.y_axis(), {0, 0, 1}), "x along phi, y along z in a barrel");
}

void bad_directions() {
  const double nan = not_a_number;
  for (const hepgan::Vector3& d : {origin, hepgan::Vector3{nan, 0, 1}, hepgan::Vector3{0, 0, nan}, hepgan::Vector3{0, infinite, 1}})
    require_message([&] { hepgan::Frame(0, origin, d); }, "direction: expected three finite numbers that are not all zero");
  require_message([&] { hepgan::Frame(0, {0, nan, 0}, {0, 0, 1}); }, "entry point: expected finite numbers");
  require_message([&] { hepgan::Frame(infinite, origin, {0, 0, 1}); }, "entry point: expected finite numbers");
  require_message([&] { hepgan::Frame(0, origin, {0, 1, 1}, {0, -2, -2}); }, "x axis of a shower: expected a direction across");
  require_message([&] { hepgan::Frame(0, origin, {0, 1, 1}, origin); }, "direction: expected three");
  require_message([&] { hepgan::Frame(std::vector<hepgan::Layer>{}, origin, {0, 0, 1}); }, "depths: expected layers, got none");
}

void entry() {
  const ToyGenerator toy("toy");
  require(hepgan::depths(toy.layers()) == std::array<double, 2>{-20, 80}, "depths of the layers");
  const hepgan::Vector3 where{100, 200, 300}, along{0, 0.6, 0.8};
  const hepgan::Frame front(toy.layers(), where, along), centre(0, where, along);
  require(close(front.place({0, 0, -20}), where), "the front face where the particle enters");
  require(close(front.place({0, 0, 80}), {100, 260, 380}), "the back face along the direction");
  require(close(centre.place({0, 0, -20}), {100, 188, 284}), "another entry point on request");
  require(close(front.place({7, 0, -20}), {107, 200, 300}) && close(front.place({0, 5, -20}), {100, 204, 297}), "cells across the direction");
}

void energies() {
  const ToyGenerator toy("toy");
  std::mt19937_64 engine(2);
  const hepgan::Showers showers = toy.generate({20.0F, 0.1F, 50.0F, 0.2F}, engine);
  for (const double threshold : {0.0, 1000.0, 1e6})
    for (std::size_t shower = 0; shower < showers.size(); ++shower) {
      const hepgan::HitMaker maker(toy, threshold);
      std::vector<hepgan::Hit> hits;
      const double below = maker.make(showers.cells(shower), {toy.layers(), origin, {0, 0, 1}}, hits);
      double above = 0;
      for (const hepgan::Hit& hit : hits) {
        above += hit.energy;
        require(hit.energy > threshold, "hits above the threshold");
        const float cell = showers.cells(shower)[hit.cell];
        require(hit.energy == 1000 * static_cast<double>(cell), "MeV from GeV");
        const hepgan::Layer& layer = toy.layers()[hit.layer];
        const hepgan::Vector3& centre = layer.cell_centres[hit.i * layer.shape[1] + hit.j];
        require(close({hit.x, hit.y, hit.z}, {centre[0], centre[1], centre[2] + 20}), "hits at the centres of their cells");
      }
      const double all = 1000 * showers.cells(shower).sum();
      require(std::abs(above + below - all) <= 1e-12 * all, "hits and what is below the threshold to sum to the cells");
      require((below > 0) == (threshold > 0) && hits.empty() == (threshold > 1e5), "the threshold to matter");
    }
  require(hepgan::mev("TeV") == 1e6 && hepgan::mev("MeV") == 1 && hepgan::mev("eV") == 1e-6, "units of energy");
  require_message([] { hepgan::mev("erg"); }, "expected eV, keV, MeV, GeV or TeV, got 'erg'");
  require_message([&] { hepgan::HitMaker(toy, -1); }, "threshold: expected a finite number >= 0");
  require_message([&] { hepgan::HitMaker(toy, std::nan("")); }, "threshold: expected a finite number >= 0");
  std::vector<hepgan::Hit> hits;
  require_message([&] { hepgan::HitMaker(toy).make(showers.values(0), {toy.layers(), origin, {0, 0, 1}}, hits); },
                  "expected the energies of 30 cells, got 33");
}

void identifiers() {
  const ToyGenerator toy("toy");
  const hepgan::HitMaker maker(toy);
  const std::vector<float> cells(maker.n_cells(), 1.0F);
  const hepgan::Frame frame(toy.layers(), origin, {1, 2, 3});
  std::vector<hepgan::Hit> hits, mapped;
  maker.make(cells, frame, hits);
  maker.make(cells, frame, [&](const hepgan::Hit& hit) { mapped.push_back(hit); },
             [](std::size_t layer, std::size_t i, std::size_t j) { return (std::uint64_t{layer} << 32U) + 100 * i + j; });
  require(hits.size() == 30 && mapped.size() == 30, "all cells");
  std::size_t number = 0;
  for (std::uint32_t layer = 0; layer < toy.layers().size(); ++layer)
    for (std::uint32_t i = 0; i < toy.layers()[layer].shape[0]; ++i)
      for (std::uint32_t j = 0; j < toy.layers()[layer].shape[1]; ++j, ++number) {
        const hepgan::Hit &hit = hits[number], &other = mapped[number];
        require(hit.cell == number && hit.layer == layer && hit.i == i && hit.j == j, "flat numbers, layers one after the other");
        require(other.cell == (std::uint64_t{layer} << 32U) + 100 * i + j && other.x == hit.x, "numbers of the caller's own");
      }
}

void polar() {
  const ToyGenerator toy("toy");
  std::vector<hepgan::Hit> hits;
  hepgan::HitMaker(toy).make(std::vector<float>(30, 1.0F), {toy.layers(), origin, {0, 0, 1}}, hits);
  // layer 2: four angles from -pi, radii 10 and 30
  for (const hepgan::Hit& hit : hits) {
    if (hit.layer != 2) continue;
    const double angle = std::atan2(hit.y, hit.x), expected = (-3 + 2 * static_cast<double>(hit.i)) * std::atan(1.0);
    require(std::abs(angle - expected) < 1e-12 && std::abs(std::hypot(hit.x, hit.y) - (hit.j == 0 ? 10 : 30)) < 1e-12,
            "angles from x towards y");
  }
  std::vector<hepgan::Layer> jets = toy.layers();
  jets[1].coordinates = "eta-phi";
  require_message([&] { const hepgan::HitMaker maker(jets, "GeV"); }, "expected layers in mm, got 'layer_1' in pseudorapidity");
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, void (*)()> tests{{"axes", axes}, {"bad_directions", bad_directions}, {"entry", entry},
                                                {"energies", energies}, {"identifiers", identifiers}, {"polar", polar}};
  return run_tests(argc, argv, 1, "test_hits TEST...", [&](const std::string& name) { tests.at(name)(); });
}
