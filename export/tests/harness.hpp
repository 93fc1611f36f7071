// Shared by the test programs: requirements, messages of exceptions, and the loop over the tests named on the command line.
#ifndef HEPGAN_TESTS_HARNESS_HPP
#define HEPGAN_TESTS_HARNESS_HPP

#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <string>

#include "hepgan/errors.hpp"

// NaN and infinity from their bits: with -ffast-math, compilers warn of those of std::numeric_limits.
inline float from_bits(std::uint32_t bits) {
  float value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline const float not_a_number = from_bits(0x7FC00000U), infinite = from_bits(0x7F800000U);

inline void require(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("expected: " + what);
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// The message of the exception that a function throws. An exception of another type is not caught.
template <class Exception = std::exception>
std::string message(const std::function<void()>& function) {
  try {
    function();
  } catch (const Exception& error) {
    return error.what();
  }
  throw std::runtime_error("expected an exception, got none");
}

/// Require that a function throws an exception with `part` in its message.
template <class Exception = std::exception>
void require_message(const std::function<void()>& function, const std::string& part) {
  const std::string got = message<Exception>(function);
  require(contains(got, part), "a message with '" + part + "', got '" + got + "'");
}

/// Require that an error is caught as hepgan::Error, as its own class, as its class of the standard library, and as
/// std::exception, with the same message.
template <class Own, class Standard>
void require_error(const std::function<void()>& function, const std::string& part) {
  require_message<hepgan::Error>(function, part);
  const std::string expected = message<hepgan::Error>(function);
  for (const std::string& got : {message<Own>(function), message<Standard>(function), message<std::exception>(function)})
    require(got == expected, "the message '" + expected + "', got '" + got + "'");
}

/// Run the tests named from argument `first` on. Returns the number of failed tests, for the exit code.
inline int run_tests(int argc, char** argv, int first, const char* usage, const std::function<void(const std::string&)>& test) {
  if (argc <= first) return std::cerr << "usage: " << usage << "\n", 2;
  int failed = 0;
  for (int k = first; k < argc; ++k) {
    try {
      test(argv[k]);
      std::cout << argv[k] << ": passed\n";
    } catch (const std::exception& error) {
      std::cout << argv[k] << ": FAILED: " << error.what() << "\n";
      ++failed;
    }
  }
  return failed;
}

#endif  // HEPGAN_TESTS_HARNESS_HPP
