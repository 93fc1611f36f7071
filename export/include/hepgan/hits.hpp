// Hits from the cells of a shower: energies with positions in the world.
//
//   const hepgan::HitMaker maker(generator, 0.1);                     // threshold in MeV
//   const hepgan::Frame frame(generator.layers(), entry, direction);  // entry point of the particle (mm)
//   std::vector<hepgan::Hit> hits;
//   maker.make(showers.cells(0), frame, hits);                        // appends
//
// The geometry of a model is in the frame of its showers: z along the particle, x and y as in the training sample. The front
// face of the first layer may be at any z (-240 mm in CaloGAN's calorimeter). By default the particle enters at this front face.
#ifndef HEPGAN_HITS_HPP
#define HEPGAN_HITS_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "hepgan/errors.hpp"
#include "hepgan/finite.hpp"
#include "hepgan/model.hpp"

namespace hepgan {

/// A position (mm) or a direction: x, y, z.
using Vector3 = std::array<double, 3>;

/// The energy in one cell, and its position.
struct Hit {
  std::uint64_t cell = 0;  ///< identifier; by default the number of the cell, counted through all layers from 0
  std::uint32_t layer = 0, i = 0, j = 0;  ///< indices of layer and cell, i along x and j along y
  double x = 0, y = 0, z = 0;  ///< centre of the cell in the world, mm
  double energy = 0;           ///< MeV
};

/// Size of a unit of energy in MeV. Throws InputError if it is not one.
inline double mev(const std::string& unit) {
  constexpr std::array<std::pair<const char*, double>, 5> units{
      {{"eV", 1e-6}, {"keV", 1e-3}, {"MeV", 1}, {"GeV", 1e3}, {"TeV", 1e6}}};
  for (const auto& [name, factor] : units)
    if (unit == name) return factor;
  throw InputError("hepgan: unit of energy: expected eV, keV, MeV, GeV or TeV, got '" + unit +
                   "'; convert the energies yourself");
}

/// Front of the first layer and back of the last one: z of the geometry, mm. Throws InputError if there are no layers.
inline std::array<double, 2> depths(const std::vector<Layer>& layers) {
  if (layers.empty()) throw InputError("hepgan: depths: expected layers, got none; tracks have no cells");
  std::array<double, 2> result = layers.front().z;
  for (const Layer& layer : layers) result = {std::min(result[0], layer.z[0]), std::max(result[1], layer.z[1])};
  return result;
}

/// The position and orientation of a shower in the world.
class Frame {
 public:
  /// The frame of a particle that enters at the front face of the first layer.
  Frame(const std::vector<Layer>& layers, const Vector3& entry, const Vector3& direction)
      : Frame(depths(layers)[0], entry, direction) {}

  /// The frame of a particle that enters at z = `front` (mm) of the geometry.
  ///
  /// Its axes are the axes of the world after the smallest rotation that takes (0, 0, 1) to the direction d:
  ///
  ///     x = (1 - a dx dx, -a dx dy, -dx),  y = (-a dx dy, 1 - a dy dy, -dy),  z = d,  a = 1 / (1 + dz)
  ///
  /// This is continuous around d = (0, 0, 1), for which nothing turns. For the opposite direction no rotation is smallest;
  /// half a turn around y is taken. In polar layers the angle counts from x towards y.
  ///
  /// entry: mm. direction: of any length.
  ///
  /// Throws InputError if a number is not finite or the direction is zero.
  Frame(double front, const Vector3& entry, const Vector3& direction) : front_(front), entry_(entry), z_(unit(direction)) {
    check();
    const double transverse = std::hypot(z_[0], z_[1]);
    if (z_[2] >= 0) {
      turn(z_[0], z_[1], 1 / (1 + z_[2]));
    } else if (transverse > std::numeric_limits<double>::min()) {  // 1 + dz loses digits: a = (1 - dz) / (dx^2 + dy^2)
      turn(z_[0] / transverse, z_[1] / transverse, 1 - z_[2]);
    } else {
      x_ = {-1, 0, 0};
      y_ = {0, 1, 0};
    }
  }

  /// As above, but x is along the part of `x_axis` that is transverse to the direction: for detectors whose cells follow an
  /// axis of the detector, such as phi in a barrel.
  ///
  /// Throws InputError also if the two are parallel.
  Frame(double front, const Vector3& entry, const Vector3& direction, const Vector3& x_axis)
      : front_(front), entry_(entry), z_(unit(direction)) {
    check();
    const Vector3 wanted = unit(x_axis);
    const double along = dot(wanted, z_);
    Vector3 across{};
    for (std::size_t k = 0; k < 3; ++k) across[k] = wanted[k] - along * z_[k];
    if (dot(across, across) <= parallel * parallel)
      throw InputError("hepgan: x axis of a shower: expected a direction across the particle's, got a parallel one; "
                       "choose another axis");
    x_ = unit(across);
    y_ = {z_[1] * x_[2] - z_[2] * x_[1], z_[2] * x_[0] - z_[0] * x_[2], z_[0] * x_[1] - z_[1] * x_[0]};
  }

  /// Position in the world (mm) of a point of the geometry (mm).
  Vector3 place(const Vector3& point) const {
    Vector3 result = entry_;
    for (std::size_t k = 0; k < 3; ++k) result[k] += point[0] * x_[k] + point[1] * y_[k] + (point[2] - front_) * z_[k];
    return result;
  }

  /// z of the geometry where the particle enters, mm.
  double front() const { return front_; }
  const Vector3& x_axis() const { return x_; }
  const Vector3& y_axis() const { return y_; }
  const Vector3& z_axis() const { return z_; }

 private:
  static constexpr double parallel = 1e-9;  // sine of the angle below which rounding would decide the direction of x

  static double dot(const Vector3& a, const Vector3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

  static Vector3 unit(const Vector3& direction) {
    const double largest = std::max({std::abs(direction[0]), std::abs(direction[1]), std::abs(direction[2])});
    if (detail::first_not_finite(direction.data(), direction.size()) < direction.size() || largest <= 0)
      throw InputError("hepgan: direction: expected three finite numbers that are not all zero, got (" +
                       std::to_string(direction[0]) + ", " + std::to_string(direction[1]) + ", " +
                       std::to_string(direction[2]) + ")");
    int exponent = 0;  // with -ffast-math a division is a product with 1 / largest, which overflows for the smallest numbers
    std::frexp(largest, &exponent);
    Vector3 result{};
    for (std::size_t k = 0; k < 3; ++k) result[k] = std::ldexp(direction[k], -exponent);  // so that the squares do not overflow
    const double length = std::sqrt(dot(result, result));
    for (double& component : result) component /= length;
    return result;
  }

  void check() const {
    if (!detail::is_finite(front_) || detail::first_not_finite(entry_.data(), entry_.size()) < entry_.size())
      throw InputError("hepgan: entry point: expected finite numbers (mm), got (" + std::to_string(entry_[0]) + ", " +
                       std::to_string(entry_[1]) + ", " + std::to_string(entry_[2]) + ") at z = " +
                       std::to_string(front_) + " of the geometry");
  }

  void turn(double u, double v, double a) {
    x_ = {1 - a * u * u, -a * u * v, -z_[0]};
    y_ = {-a * u * v, 1 - a * v * v, -z_[1]};
  }

  double front_;
  Vector3 entry_, x_{}, y_{}, z_;
};

/// A maker of hits from the energies of cells. Immutable after construction: many threads may share one and call it at the same
/// time.
class HitMaker {
 public:
  /// layers, unit: of a generator. threshold: MeV; only cells above it give hits.
  ///
  /// Throws InputError if the threshold is negative or not finite, the unit is not one of energy, or layers have no lengths.
  HitMaker(const std::vector<Layer>& layers, const std::string& unit, double threshold = 0)
      : factor_(mev(unit)), threshold_(threshold) {
    if (!detail::is_finite(threshold) || threshold < 0)
      throw InputError("hepgan: threshold: expected a finite number >= 0 (MeV), got " + std::to_string(threshold));
    for (std::size_t k = 0; k < layers.size(); ++k) {
      if (layers[k].coordinates == "eta-phi")
        throw InputError("hepgan: hits: expected layers in mm, got '" + layers[k].name +
                         "' in pseudorapidity and azimuth; its cells have no place in the world");
      for (std::size_t cell = 0; cell < layers[k].cell_centres.size(); ++cell) {
        const std::size_t width = layers[k].shape[1];
        cells_.push_back({static_cast<std::uint32_t>(k), static_cast<std::uint32_t>(cell / width),
                          static_cast<std::uint32_t>(cell % width), layers[k].cell_centres[cell]});
      }
    }
  }

  /// A maker with the layers and the unit of a generator.
  template <class Generator, class = decltype(std::declval<const Generator&>().layers())>
  explicit HitMaker(const Generator& generator, double threshold = 0)
      : HitMaker(generator.layers(), generator.unit(), threshold) {}

  /// Number of cells of a shower.
  std::size_t n_cells() const { return cells_.size(); }

  /// Make the hits of a shower. Returns the energy (MeV) of the cells that are not above the threshold.
  ///
  /// energies: of all cells, layers one after the other, in the generator's unit (Events::cells()).
  /// sink: a std::vector<Hit> to which the hits are appended, or a callable that takes each hit.
  /// identify: callable (layer, i, j) -> identifier of the cell; default: the number of the cell.
  ///
  /// Throws InputError if the number of energies is not the number of cells, or an energy is not finite.
  template <class Sink>
  double make(Span<const float> energies, const Frame& frame, Sink&& sink) const {
    return each(energies, frame, sink, [](std::size_t number, const Cell&) { return static_cast<std::uint64_t>(number); });
  }
  template <class Sink, class Identify>
  double make(Span<const float> energies, const Frame& frame, Sink&& sink, Identify&& identify) const {
    return each(energies, frame, sink, [&](std::size_t, const Cell& cell) {
      return static_cast<std::uint64_t>(identify(std::size_t{cell.layer}, std::size_t{cell.i}, std::size_t{cell.j}));
    });
  }

 private:
  struct Cell {
    std::uint32_t layer, i, j;
    Vector3 centre;
  };

  template <class Sink, class Number>
  double each(Span<const float> energies, const Frame& frame, Sink& sink, Number number) const {
    if (energies.size() != cells_.size())
      throw InputError("hepgan: hits: expected the energies of " + std::to_string(cells_.size()) + " cells, got " +
                       std::to_string(energies.size()) + "; give those of one shower, without its overflow");
    if (const std::size_t bad = detail::first_not_finite(energies.data(), energies.size()); bad < energies.size())
      throw InputError("hepgan: hits: expected finite energies, got " + detail::short_number(energies[bad]) + " in cell " +
                       std::to_string(bad) + "; leave this shower to full simulation");
    double below = 0;
    for (std::size_t k = 0; k < cells_.size(); ++k) {
      const double energy = factor_ * static_cast<double>(energies[k]);
      if (energy <= threshold_) {
        below += energy;
        continue;
      }
      const Cell& cell = cells_[k];
      const Vector3 centre = frame.place(cell.centre);
      const Hit hit{number(k, cell), cell.layer, cell.i, cell.j, centre[0], centre[1], centre[2], energy};
      if constexpr (std::is_invocable_v<Sink&, const Hit&>) {
        sink(hit);
      } else {
        sink.push_back(hit);
      }
    }
    return below;
  }

  std::vector<Cell> cells_;
  double factor_, threshold_;
};

}  // namespace hepgan

#endif  // HEPGAN_HITS_HPP
