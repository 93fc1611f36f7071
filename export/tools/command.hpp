// Shared by the command-line tools: arguments, and errors with exit code 2.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "hepgan/finite.hpp"
#include "hepgan/model.hpp"

namespace command {

/// The text after `name` as a number from `low` to `high`.
inline double number(const std::string& name, const std::string& text, double low = std::numeric_limits<double>::lowest(),
                     double high = std::numeric_limits<double>::max()) {
  std::size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != text.size()) throw std::invalid_argument(name + ": expected a number, got '" + text + "'");
  if (!hepgan::detail::is_finite(value) || value < low || value > high) {
    std::ostringstream message;
    message << name << ": expected a number from " << low << " to " << high << ", got " << text;
    throw std::invalid_argument(message.str());
  }
  return value;
}

/// A whole number of 64 bits.
inline std::uint64_t whole(const std::string& name, const std::string& text) {
  const bool digits = !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
  try {
    if (digits) return std::stoull(text);
  } catch (const std::out_of_range&) {
  }
  throw std::invalid_argument(name + ": expected a whole number from 0 to 2^64 - 1, got '" + text + "'");
}

/// Numbers separated by commas.
inline std::vector<double> list(const std::string& name, const std::string& text, double low, double high) {
  std::vector<double> result;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) result.push_back(number(name, part, low, high));
  if (result.empty()) throw std::invalid_argument(name + ": expected numbers separated by commas, got none");
  return result;
}

/// The arguments of a tool: a model file, options of the tool, and options that all tools have.
struct Arguments {
  std::string model;
  std::vector<float> condition;
  hepgan::Options options;

  /// Read the words of a command line. `own`: actions for the options of this tool, which take the word after them;
  /// `switches`: options without a word after them.
  void parse(const std::vector<std::string>& words, const std::map<std::string, std::function<void(const std::string&)>>& own,
             const std::map<std::string, bool*>& switches = {}) {
    constexpr double any = std::numeric_limits<double>::max();
    for (std::size_t k = 0; k < words.size(); ++k) {
      const std::string& word = words[k];
      const auto value = [&]() -> const std::string& {
        if (k + 1 >= words.size()) throw std::invalid_argument(word + ": expected a value, got none");
        return words[++k];
      };
      if (const auto option = own.find(word); option != own.end()) {
        option->second(value());
      } else if (const auto flag = switches.find(word); flag != switches.end()) {
        *flag->second = true;
      } else if (word == "--condition" || word == "--energy") {
        for (const double part : list(word, value(), -any, any)) condition.push_back(static_cast<float>(part));
      } else if (word == "--runtime") {
        options.runtime = value();
      } else if (word == "--device") {
        options.device = value();
      } else if (word == "--out-of-range") {
        static const std::map<std::string, hepgan::Action> actions{{"fail", hepgan::Action::fail},
                                                                   {"clamp", hepgan::Action::clamp},
                                                                   {"extrapolate", hepgan::Action::extrapolate},
                                                                   {"skip", hepgan::Action::skip}};
        const auto action = actions.find(value());
        if (action == actions.end())
          throw std::invalid_argument(word + ": expected fail, clamp, extrapolate or skip, got '" + words[k] + "'");
        options.out_of_range = action->second;
      } else if (word == "--extrapolate") {
        options.out_of_range = hepgan::Action::extrapolate;
      } else if (!word.empty() && word[0] != '-' && model.empty()) {
        model = word;
      } else {
        throw std::invalid_argument("unknown argument '" + word + "'");
      }
    }
    if (model.empty()) throw std::invalid_argument("expected a model file, got none");
  }

  /// The conditions of `n` equal events: those given, or else the middle of the range (geometric for logarithmic conditions) or
  /// the first category.
  template <class Generator>
  std::vector<float> rows(const Generator& generator, std::size_t n) const {
    std::vector<float> row = condition;
    if (row.empty())
      for (const hepgan::Condition& c : generator.conditions())
        row.push_back(static_cast<float>(!c.categories.empty() ? c.categories.front().second
                                         : c.logarithmic       ? std::sqrt(c.low * c.high)
                                                               : 0.5 * (c.low + c.high)));
    if (row.size() != generator.conditions().size())
      throw std::invalid_argument("--condition: expected " + std::to_string(generator.conditions().size()) + " values, got " +
                                  std::to_string(row.size()));
    std::vector<float> result;
    result.reserve(n * row.size());
    for (std::size_t k = 0; k < n; ++k) result.insert(result.end(), row.begin(), row.end());
    return result;
  }
};

/// The lines of --help for the options that all tools have.
inline constexpr const char* common =
    "  --runtime    the ONNX Runtime library; default: HEPGAN_ONNXRUNTIME, then the loader's path\n"
    "  --device     cpu, cuda or cuda:N (default cpu)\n";

/// Run a tool. Handles --help, and turns errors into exit code 2.
inline int run(int argc, char** argv, const char* name, const std::string& usage,
               const std::function<int(const std::vector<std::string>&)>& tool) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  for (const std::string& word : words)
    if (word == "-h" || word == "--help") return std::cout << usage, EXIT_SUCCESS;
  try {
    return tool(words);
  } catch (const std::exception& error) {
    std::cerr << name << ": " << error.what() << "\n";
    return 2;
  }
}

}  // namespace command
