// Errors that a caller can catch apart. Each is a hepgan::Error and also an exception of the standard library:
//
//   ModelFileError       std::runtime_error     a model file that is not one of hepgan, damaged, altered, or of a newer version
//   NotFoundError        ModelFileError         a model file that does not exist
//   RuntimeLibraryError  std::runtime_error     ONNX Runtime or its device: not found, too old, or failing
//   NotFiniteError       std::runtime_error     an event with NaN or infinite numbers
//   ConditionRangeError  std::invalid_argument  a condition outside the range that the generator was trained on
//   InputError           std::invalid_argument  an argument of a wrong size, name, unit or value
//   LookupError          std::out_of_range      an event or output that does not exist
//
// Every message gives the name of what is wrong, what was expected, what was found and what to do. Errors of the same meaning
// have the same name in Python (hepgan/errors.py).
#ifndef HEPGAN_ERRORS_HPP
#define HEPGAN_ERRORS_HPP

#include <stdexcept>

// Default visibility, so that one shared library catches what another one throws even if both hide their symbols.
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

namespace hepgan {

/// Base of all errors of these headers. It is no std::exception itself: each error gets that base once, from its standard class.
class Error {
 public:
  virtual ~Error() = default;
  virtual const char* what() const noexcept = 0;

 protected:
  Error() = default;
  Error(const Error&) = default;
  Error& operator=(const Error&) = default;
};

namespace detail {

/// An Error that is also the exception `Standard`.
template <class Standard>
class ErrorAs : public Standard, public Error {
 public:
  using Standard::Standard;
  const char* what() const noexcept override { return Standard::what(); }
};

}  // namespace detail

/// A model file that is not one of hepgan, damaged, altered, of a newer version, or that this machine does not reproduce.
class ModelFileError : public detail::ErrorAs<std::runtime_error> {
 public:
  using ErrorAs::ErrorAs;
};

/// A model file that does not exist.
class NotFoundError : public ModelFileError {
 public:
  using ModelFileError::ModelFileError;
};

/// ONNX Runtime not found, too old, or failing; or a device on which it cannot compute.
class RuntimeLibraryError : public detail::ErrorAs<std::runtime_error> {
 public:
  using ErrorAs::ErrorAs;
};

/// A generated event with NaN or infinite numbers.
class NotFiniteError : public detail::ErrorAs<std::runtime_error> {
 public:
  using ErrorAs::ErrorAs;
};

/// A condition outside the range, or none of the categories, that the generator was trained on.
class ConditionRangeError : public detail::ErrorAs<std::invalid_argument> {
 public:
  using ErrorAs::ErrorAs;
};

/// An argument of a wrong size, name, unit or value.
class InputError : public detail::ErrorAs<std::invalid_argument> {
 public:
  using ErrorAs::ErrorAs;
};

/// An event or output that does not exist.
class LookupError : public detail::ErrorAs<std::out_of_range> {
 public:
  using ErrorAs::ErrorAs;
};

}  // namespace hepgan

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif

#endif  // HEPGAN_ERRORS_HPP
