// Counter-based noise: the numbers of a track are a function of (seed, run, event, track), and of nothing else. So a track
// gives the same shower in any thread, batch, job or language: hepgan/inference/noise.py has the specification.
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
#include <type_traits>
#include <utility>

namespace hepgan {

/// What the noise of a track is a function of.
struct Key {
  std::uint64_t seed = 0, run = 0, event = 0, track = 0;
};

/// Philox4x64-10: four random words of a counter and a key (Salmon et al., SC11, doi:10.1145/2063384.2063405).
inline std::array<std::uint64_t, 4> philox(std::array<std::uint64_t, 4> counter, std::array<std::uint64_t, 2> key) {
  const auto high = [](std::uint64_t a, std::uint64_t b) {  // of the product's 128 bits
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

/// The standard normal quantile of random words: exact knots, 128 in each octave, and straight lines between them.
class Quantile {
 public:
  /// A standard normal number of 32 random bits.
  float operator()(std::uint32_t word) const {
    const double p = (static_cast<double>(word & 0x7FFFFFFFU) + 0.5) * 0x1p-32;
    std::uint64_t bits = 0;
    std::memcpy(&bits, &p, sizeof(bits));
    const auto knot = static_cast<std::size_t>((bits >> fraction_bits) - first);
    const double fraction = static_cast<double>(bits & ((std::uint64_t{1} << fraction_bits) - 1)) * 0x1p-45;
    const double low = values_[knot], step = values_[knot + 1] - low;
    const auto x = static_cast<float>(low + fraction * step);  // the product is exact: fused or not, the same bits
    return (word >> 31U) != 0 ? -x : x;
  }

  /// The only one: 16 KB, made when it is first asked for.
  static const Quantile& table() {
    static const Quantile quantile;
    return quantile;
  }

  /// The knots, in increasing order.
  const std::array<float, 4097>& knots() const { return values_; }

 private:
  static constexpr unsigned knot_bits = 7, fraction_bits = 52 - knot_bits;
  static constexpr std::uint64_t first = (1023U - 33U) << knot_bits;  // leading bits of 2^-33, the smallest p

  /// Newton's method in double precision, from the knot before: a thousand times finer than float32 shows.
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

/// Fill `numbers` with the `size` first standard normal numbers of a track.
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

/// A random engine: of the standard library's kind, or with flat() as CLHEP's, or a callable that gives normal numbers.
template <class T>
inline constexpr bool is_engine = has_flat<T>::value || has_bits<T>::value || std::is_invocable_r_v<double, T&>;

}  // namespace detail

/// Fill `numbers` from a random engine. Bits and uniform numbers become normal ones through `Quantile`, so that equal engines
/// give equal numbers with every standard library.
template <class Engine, class = std::enable_if_t<detail::is_engine<Engine>>>
void normal(Engine& engine, float* numbers, std::size_t size) {
  if constexpr (detail::has_flat<Engine>::value) {
    const Quantile& quantile = Quantile::table();
    for (std::size_t k = 0; k < size; ++k)
      numbers[k] = quantile(static_cast<std::uint32_t>(std::min(static_cast<double>(engine.flat()) * 0x1p32, 0x1.fffffffep31)));
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
