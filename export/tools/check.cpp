// hepgan-check: prints the description in a model file, and compares this machine's numbers with the reference vectors of torch.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "command.hpp"
#include "hepgan/generator.hpp"

namespace {

const std::string usage = std::string("usage: hepgan-check MODEL.onnx\n"
                                      "Describe a model file and test it on this machine; exit code 1 if a test fails.\n") +
                          command::common + "example: hepgan-check model.onnx\n";

void describe(const hepgan::Generator& generator) {
  std::cout << generator.kind() << ", " << generator.latent_size() << " latent numbers, " << generator.width() << " numbers a "
            << generator.row() << "\n";
  for (const hepgan::Condition& c : generator.conditions()) {
    std::cout << "  condition " << c.name << ": trained ";
    if (c.categories.empty()) std::cout << "from " << c.low << " to " << c.high << " " << c.unit;
    const char* separator = "with ";
    for (const auto& [name, value] : c.categories) {
      std::cout << separator << name << " = " << value;
      separator = ", ";
    }
    std::cout << "\n";
  }
  for (const hepgan::Output& output : generator.outputs()) {
    std::cout << "  " << output.role << " " << output.name << ":";
    for (std::size_t k = 0; k < output.shape.size(); ++k) std::cout << (k == 0 ? " " : " x ") << output.shape[k];
    std::cout << (output.unit.empty() ? "" : ", ") << output.unit << "\n";
  }
}

/// Conditions of n events: from end to end of the range, or each category in turn.
std::vector<float> spanning(const hepgan::Generator& generator, std::size_t n) {
  std::vector<float> conditions;
  for (std::size_t event = 0; event < n; ++event)
    for (const hepgan::Condition& c : generator.conditions()) {
      const double way = static_cast<double>(event) / static_cast<double>(n - 1);
      double value = c.logarithmic ? c.low * std::pow(c.high / c.low, way) : c.low + way * (c.high - c.low);
      if (!c.categories.empty()) value = c.categories[event % c.categories.size()].second;
      conditions.push_back(c.categories.empty() ? static_cast<float>(std::clamp(value, c.low, c.high)) : static_cast<float>(value));
    }
  return conditions;
}

bool report(const std::string& name, bool passed, const std::string& detail) {
  std::cout << (passed ? "  passed  " : "  FAILED  ") << name << ": " << detail << "\n";
  return passed;
}

int check(const std::vector<std::string>& words) {
  command::Arguments arguments;
  arguments.options.self_test = false;  // it is reported below
  arguments.parse(words, {});
  const auto start = std::chrono::steady_clock::now();
  const hepgan::Generator generator(arguments.model, arguments.options);
  const double difference = generator.self_test();
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  std::cout << arguments.model << " (" << generator.runtime() << ", loaded and tested in " << std::round(time.count()) << " ms)\n";
  describe(generator);

  constexpr std::size_t n = 64;
  const std::vector<float> conditions = spanning(generator, n);
  std::vector<hepgan::Key> keys;
  for (std::uint64_t event = 0; event < n; ++event) keys.push_back({1, 0, event, 0});
  const hepgan::Events together = generator.generate(conditions, keys);
  double apart = 0;
  bool negative = false;
  std::vector<float> single(generator.width());
  for (std::size_t event = 0; event < n; ++event) {
    const std::size_t width = generator.conditions().size();
    generator.generate({conditions.data() + event * width, width}, keys[event], single);
    apart = std::max(apart, generator.model().difference(single, together.values(event)));
    for (const hepgan::Output& output : generator.outputs())
      if (output.role != "target") negative = negative || *std::min_element(&single[output.offset], &single[output.offset] + output.size) < 0;
  }
  bool passed = report("reference vectors", difference <= generator.model().allowed, "largest difference " + hepgan::detail::short_number(difference));
  passed &= report("one row = many rows", apart <= generator.model().allowed, "largest difference " + hepgan::detail::short_number(apart));
  passed &= report("finite numbers", true, std::to_string(n) + " over the trained range");
  if (generator.kind() == "calorimeter") passed &= report("energies", !negative, negative ? "negative ones" : "none is negative");
  return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) { return command::run(argc, argv, "hepgan-check", usage, check); }
