// Counter-based noise: the latent numbers of a track are a function of (seed, run, event, track) only. A track therefore gives
// the same shower in any thread, batch, job and language. hepgan/inference/noise.py has the specification.
#ifndef HEPGAN_NOISE_HPP
#define HEPGAN_NOISE_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "hepgan/errors.hpp"
#include "hepgan/finite.hpp"

namespace hepgan {

/// The key of the noise of a track: equal keys give equal latent numbers.
struct Key {
  std::uint64_t seed = 0, run = 0, event = 0, track = 0;
};

/// The keys of `n` consecutive events, from `first` on.
///
/// Throws InputError if an event number would not fit into 64 bits: it would begin again at 0 and repeat events.
inline std::vector<Key> consecutive(Key first, std::size_t n) {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  if (n > 0 && n - 1 > most - first.event)
    throw InputError("hepgan: first event: expected event numbers up to 2^64 - 1, got " + std::to_string(n) + " events from " +
                     std::to_string(first.event) + " on; start earlier, or use another run number");
  std::vector<Key> keys(n, first);
  for (std::size_t k = 0; k < n; ++k) keys[k].event += k;
  return keys;
}

/// Philox4x64-10: four random words from a counter and a key (Salmon et al., SC11, doi:10.1145/2063384.2063405).
inline std::array<std::uint64_t, 4> philox(std::array<std::uint64_t, 4> counter, std::array<std::uint64_t, 2> key) {
  const auto high = [](std::uint64_t a, std::uint64_t b) {  // upper 64 of the product's 128 bits
    const std::uint64_t al = a & 0xFFFFFFFFU, ah = a >> 32U, bl = b & 0xFFFFFFFFU, bh = b >> 32U;
    const std::uint64_t middle = ah * bl + ((al * bl) >> 32U);
    return ah * bh + (middle >> 32U) + ((al * bh + (middle & 0xFFFFFFFFU)) >> 32U);
  };
  constexpr std::uint64_t first = 0xD2E7470EE14C6C93U, second = 0xCA5A826395121157U;
  for (int turn = 0; turn < 10; ++turn) {
    counter = {high(second, counter[2]) ^ counter[1] ^ key[0], second * counter[2],
               high(first, counter[0]) ^ counter[3] ^ key[1], first * counter[0]};
    key[0] += 0x9E3779B97F4A7C15U;
    key[1] += 0xBB67AE8584CAA73BU;
  }
  return counter;
}

/// The quantile function of the standard normal distribution for random words: linear interpolation between exact knots, 128 in
/// each octave of the probability.
class Quantile {
 public:
  /// The standard normal number for 32 random bits.
  float operator()(std::uint32_t word) const {
    const double p = (static_cast<double>(word & 0x7FFFFFFFU) + 0.5) * 0x1p-32;
    std::uint64_t bits = 0;
    std::memcpy(&bits, &p, sizeof(bits));
    const auto knot = static_cast<std::size_t>((bits >> fraction_bits) - first);
    const double fraction = static_cast<double>(bits & ((std::uint64_t{1} << fraction_bits) - 1)) * 0x1p-45;
    const double low = values_[knot], step = values_[knot + 1] - low;
    const auto x = static_cast<float>(low + fraction * step);  // the product is exact: same bits with and without fma
    return (word >> 31U) != 0 ? -x : x;
  }

  /// The only object of this class (16 KB), made at the first call.
  static const Quantile& table() {
    static const Quantile quantile;
    return quantile;
  }

  /// The knots, in increasing order.
  const std::array<float, 4097>& knots() const { return values_; }

 private:
  static constexpr unsigned knot_bits = 7, fraction_bits = 52 - knot_bits;
  static constexpr std::uint64_t first = (1023U - 33U) << knot_bits;  // leading bits of 2^-33, the smallest p

  /// Compute the knots with Newton's method in double precision, each from the one before; the error is a thousandth of the
  /// rounding to float32.
  Quantile() {
    double x = 6.3;  // -x is the quantile
    for (std::size_t knot = 0; knot + 1 < values_.size(); ++knot) {
      const std::uint64_t bits = (first + knot) << fraction_bits;
      double p = 0;
      std::memcpy(&p, &bits, sizeof(p));
      for (int turn = 0; turn < 6; ++turn) {
        const double density = std::exp(-0.5 * x * x) * 0.3989422804014327;
        x += (0.5 * std::erfc(x * 0.7071067811865476) - p) / density;
      }
      values_[knot] = static_cast<float>(-x);
    }
    values_.back() = 0;
  }

  std::array<float, 4097> values_{};
};

/// Fill `numbers` with the first `size` standard normal numbers of a track.
inline void normal(const Key& key, float* numbers, std::size_t size) {
  const Quantile& quantile = Quantile::table();
  for (std::size_t block = 0; 8 * block < size; ++block) {
    const auto words = philox({block + 1, key.event, key.track, 0}, {key.seed, key.run});
    for (std::size_t k = 0; k < 8 && 8 * block + k < size; ++k)
      numbers[8 * block + k] = quantile(static_cast<std::uint32_t>(words[k / 2] >> (32 * (k % 2))));
  }
}

namespace detail {

template <class T, class = void>
struct has_flat : std::false_type {};
template <class T>
struct has_flat<T, std::void_t<decltype(static_cast<double>(std::declval<T&>().flat()))>> : std::true_type {};

template <class T, class = void>
struct has_bits : std::false_type {};
template <class T>
struct has_bits<T, std::void_t<decltype(T::min()), decltype(T::max()), std::enable_if_t<std::is_unsigned_v<std::invoke_result_t<T&>>>>>
    : std::true_type {};

/// Whether a type is a random engine: one like those of the standard library, one with flat() as in CLHEP, or a callable that
/// returns standard normal numbers.
template <class T>
inline constexpr bool is_engine = has_flat<T>::value || has_bits<T>::value || std::is_invocable_r_v<double, T&>;

}  // namespace detail

/// Fill `numbers` with standard normal numbers from a random engine. `Quantile` turns bits and uniform numbers into normal ones,
/// so that an engine gives the same numbers with every standard library.
///
/// Throws InputError if flat() gives a number outside 0 to 1.
template <class Engine, class = std::enable_if_t<detail::is_engine<Engine>>>
void normal(Engine& engine, float* numbers, std::size_t size) {
  if constexpr (detail::has_flat<Engine>::value) {
    const Quantile& quantile = Quantile::table();
    for (std::size_t k = 0; k < size; ++k) {
      const auto uniform = static_cast<double>(engine.flat());
      if (!detail::is_finite(uniform) || uniform < 0 || uniform > 1)
        throw InputError("hepgan: random engine: expected numbers from 0 to 1 from flat(), got another one; give a uniform engine");
      numbers[k] = quantile(static_cast<std::uint32_t>(std::min(uniform * 0x1p32, 0x1.fffffffep31)));
    }
  } else if constexpr (detail::has_bits<Engine>::value) {
    const Quantile& quantile = Quantile::table();
    constexpr auto range = static_cast<std::uint64_t>(Engine::max() - Engine::min());
    for (std::size_t k = 0; k < size; ++k) {
      if constexpr (range == std::numeric_limits<std::uint32_t>::max()) {
        numbers[k] = quantile(static_cast<std::uint32_t>(engine() - Engine::min()));
      } else if constexpr (range == std::numeric_limits<std::uint64_t>::max()) {
        numbers[k] = quantile(static_cast<std::uint32_t>(engine() >> 32U));
      } else {
        numbers[k] = quantile(std::uniform_int_distribution<std::uint32_t>()(engine));
      }
    }
  } else {
    for (std::size_t k = 0; k < size; ++k) numbers[k] = static_cast<float>(engine());
  }
}

}  // namespace hepgan

#endif  // HEPGAN_NOISE_HPP
