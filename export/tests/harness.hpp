// What the test programs share: requirements, messages of exceptions, and the loop over the tests named on the command line.
#ifndef HEPGAN_TESTS_HARNESS_HPP
#define HEPGAN_TESTS_HARNESS_HPP

#include <exception>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <string>

inline void require(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("expected: " + what);
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// The message of the exception that a function throws; one of another type goes on.
template <class Exception = std::exception>
std::string message(const std::function<void()>& function) {
  try {
    function();
  } catch (const Exception& error) {
    return error.what();
  }
  throw std::runtime_error("expected an exception, got none");
}

template <class Exception = std::exception>
void require_message(const std::function<void()>& function, const std::string& part) {
  const std::string got = message<Exception>(function);
  require(contains(got, part), "a message with '" + part + "', got '" + got + "'");
}

/// Run the tests named from argument `first` on; the number of those that failed, for the exit code.
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
