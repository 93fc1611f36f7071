// Tests for NaN and infinities that hold with any options. With -ffast-math or -Ofast a compiler takes it that there are none, and
// removes std::isfinite, x != x and !(x <= limit). These tests look at the bits of numbers in memory, in functions that are never
// inlined, so that nothing is concluded from the arithmetic that made the numbers.
#ifndef HEPGAN_FINITE_HPP
#define HEPGAN_FINITE_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace hepgan::detail {

/// Bits of a number without its sign: less than `infinite_bits` if it is finite, and more if it is NaN.
template <class Float>
auto magnitude_bits(const Float& number) {
  static_assert(sizeof(Float) == 4 || sizeof(Float) == 8, "float or double, IEEE 754");
  using Bits = std::conditional_t<sizeof(Float) == 4, std::uint32_t, std::uint64_t>;
  Bits bits = 0;
  std::memcpy(&bits, &number, sizeof bits);
  return static_cast<Bits>(bits & (~Bits{0} >> 1U));
}

template <class Float>
inline constexpr std::uint64_t infinite_bits = sizeof(Float) == 4 ? 0x7F800000U : 0x7FF0000000000000U;

/// Place of the first number that is NaN or infinite; `size` if all are finite.
template <class Float>
[[gnu::noinline]] std::size_t first_not_finite(const Float* numbers, std::size_t size) {
  std::size_t place = 0;
  while (place < size && magnitude_bits(numbers[place]) < infinite_bits<Float>) ++place;
  return place;
}

// by reference: a number that is passed by value would count as finite
template <class Float>
bool is_finite(const Float& number) {
  return first_not_finite(&number, 1) == 1;
}

template <class Float>
[[gnu::noinline]] bool is_nan(const Float& number) {
  return magnitude_bits(number) > infinite_bits<Float>;
}

}  // namespace hepgan::detail

#endif  // HEPGAN_FINITE_HPP
