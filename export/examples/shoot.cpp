// hepgan-shoot: showers or tracks from a model file, their means and the time they take.
//
//   hepgan-shoot showers.onnx --energy 10 -n 1000 --seed 1
//   hepgan-shoot rich.onnx --condition 30000,3.5,150
//   hepgan-shoot model.onnx --rows rows.txt --csv     # conditions and latent numbers from a file, outputs to stdout
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <limits>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "hepgan/generator.hpp"

namespace {

const char* const usage =
    "usage: hepgan-shoot MODEL.onnx [--condition C1[,C2,...]] [-n N] [--seed S] [--csv] [--rows FILE] [--extrapolate]\n"
    "  --condition  value of each condition, separated by commas (default: the middle of the trained range);\n"
    "               --energy is the same\n"
    "  -n           number of showers or tracks (default 1000)\n"
    "  --seed       seed of std::mt19937_64 (default 1)\n"
    "  --csv        write the showers or tracks instead, one a line: cells, then overflow; or targets\n"
    "  --rows       take conditions and latent numbers from a text file, one shower or track a line\n"
    "example: hepgan-shoot model.onnx --condition 10 -n 1000 --seed 1\n";

struct Arguments {
  std::string model, rows;
  std::vector<float> condition;
  std::size_t n = 1000;
  std::uint64_t seed = 1;
  bool csv = false;
  hepgan::Options options;
};

double number(const std::string& text, const std::string& name) {
  std::size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  if (used == 0 || used != text.size()) throw std::invalid_argument(name + ": expected a number, got '" + text + "'");
  return value;
}

Arguments parse(const std::vector<std::string>& words) {
  Arguments arguments;
  for (std::size_t k = 0; k < words.size(); ++k) {
    const std::string& word = words[k];
    const auto value = [&]() -> const std::string& {
      if (k + 1 >= words.size()) throw std::invalid_argument(word + ": expected a value, got none");
      return words[++k];
    };
    if (word == "--condition" || word == "--energy") {
      std::istringstream list(value());
      for (std::string part; std::getline(list, part, ',');)
        arguments.condition.push_back(static_cast<float>(number(part, word)));
    } else if (word == "-n") {
      const double n = number(value(), word);
      if (!(n >= 1 && n <= 1e9)) throw std::invalid_argument("-n: expected a number from 1 to 1e9");
      arguments.n = static_cast<std::size_t>(n);
    } else if (word == "--seed") {
      arguments.seed = static_cast<std::uint64_t>(number(value(), word));
    } else if (word == "--rows") {
      arguments.rows = value();
    } else if (word == "--csv") {
      arguments.csv = true;
    } else if (word == "--extrapolate") {
      arguments.options.extrapolate = true;
    } else if (!word.empty() && word[0] != '-' && arguments.model.empty()) {
      arguments.model = word;
    } else {
      throw std::invalid_argument("unknown argument '" + word + "'");
    }
  }
  if (arguments.model.empty()) throw std::invalid_argument("expected a model file, got none");
  return arguments;
}

/// One row of conditions `n` times; if none is given, the middle of the range (geometric where the logarithm counts), or
/// the first category.
std::vector<float> repeated(const hepgan::Generator& generator, std::vector<float> row, std::size_t n) {
  if (row.empty())
    for (const hepgan::Condition& c : generator.conditions())
      row.push_back(static_cast<float>(!c.categories.empty() ? c.categories.front().second
                                       : c.logarithmic       ? std::sqrt(c.low * c.high)
                                                             : 0.5 * (c.low + c.high)));
  if (row.size() != generator.conditions().size())
    throw std::invalid_argument("--condition: expected " + std::to_string(generator.conditions().size()) + " values, got " +
                                std::to_string(row.size()));
  std::vector<float> result;
  for (std::size_t k = 0; k < n; ++k) result.insert(result.end(), row.begin(), row.end());
  return result;
}

hepgan::Events from_file(const hepgan::Generator& generator, const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("file not found: " + path);
  std::vector<float> conditions, latent;
  for (std::string line; std::getline(file, line);) {
    std::istringstream stream(line);
    std::vector<float> row;
    for (float value = 0; stream >> value;) row.push_back(value);
    const std::size_t expected = generator.conditions().size() + generator.latent_size();
    if (row.size() != expected)
      throw std::runtime_error(path + ": expected " + std::to_string(expected) + " numbers a line, got " + std::to_string(row.size()));
    const auto middle = row.begin() + static_cast<std::ptrdiff_t>(generator.conditions().size());
    conditions.insert(conditions.end(), row.begin(), middle);
    latent.insert(latent.end(), middle, row.end());
  }
  return generator.generate(conditions, latent);
}

void write_csv(const hepgan::Events& events) {
  std::cout << std::setprecision(std::numeric_limits<float>::max_digits10);
  for (std::size_t event = 0; event < events.size(); ++event) {
    const char* separator = "";
    for (const float value : events.values(event)) {
      std::cout << separator << value;
      separator = ",";
    }
    std::cout << '\n';
  }
}

/// Mean of each target away from its atoms, and the share of each atom.
void describe_tracks(const hepgan::Generator& generator, const hepgan::Tracks& tracks) {
  std::cout << tracks.size() << " tracks, means away from exact values\n";
  for (std::size_t k = 0; k < generator.outputs().size(); ++k) {
    const hepgan::Output& output = generator.outputs()[k];
    std::vector<std::size_t> exact(output.atoms.size());
    double total = 0;
    std::size_t others = 0;
    for (std::size_t track = 0; track < tracks.size(); ++track) {
      const float value = tracks.output(track, k)[0];
      const auto found = std::find_if(output.atoms.begin(), output.atoms.end(),
                                      [&](double atom) { return value == static_cast<float>(atom); });
      if (found != output.atoms.end()) {
        ++exact[static_cast<std::size_t>(found - output.atoms.begin())];
      } else {
        total += static_cast<double>(value);
        ++others;
      }
    }
    std::cout << "  " << std::left << std::setw(12) << output.name << std::right << std::setw(12)
              << total / static_cast<double>(std::max<std::size_t>(others, 1)) << " " << output.unit;
    for (std::size_t a = 0; a < exact.size(); ++a)
      std::cout << "   " << output.atoms[a] << " in " << 100.0 * static_cast<double>(exact[a]) / static_cast<double>(tracks.size()) << " %";
    std::cout << "\n";
  }
}

void describe_showers(const hepgan::Generator& generator, const hepgan::Showers& showers) {
  const auto n = static_cast<double>(showers.size());
  std::cout << showers.size() << " showers, mean energies in " << generator.unit() << "\n";
  double all = 0;
  for (std::size_t k = 0; k < generator.outputs().size(); ++k) {
    const hepgan::Output& output = generator.outputs()[k];
    double total = 0, hits = 0;
    for (std::size_t shower = 0; shower < showers.size(); ++shower) {
      const hepgan::Span values = showers.output(shower, k);
      total += values.sum();
      for (const float value : values) hits += value > 0;
    }
    std::cout << "  " << std::left << std::setw(12) << output.name << std::right << std::setw(12) << total / n;
    if (output.role == "layer") std::cout << "   occupancy " << hits / n / static_cast<double>(output.size);
    std::cout << "\n";
    all += total;
  }
  std::cout << "  " << std::left << std::setw(12) << "total" << std::right << std::setw(12) << all / n << "\n";
}

/// Best time per event of a few repetitions: the least disturbed by whatever else the machine does.
double seconds(const hepgan::Generator& generator, const std::vector<float>& row, std::size_t batch) {
  constexpr double enough = 0.3;  // seconds
  std::mt19937_64 engine(1);
  std::normal_distribution<float> normal;
  const std::vector<float> conditions = repeated(generator, row, batch);
  std::vector<float> latent(batch * generator.latent_size());
  for (float& value : latent) value = normal(engine);
  double best = std::numeric_limits<double>::infinity(), spent = 0;
  for (int k = 0; k < 3 || spent < enough; ++k) {
    const auto start = std::chrono::steady_clock::now();
    generator.generate(conditions, latent);
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    spent += time.count();
    if (k > 0) best = std::min(best, time.count());
  }
  return best / static_cast<double>(batch);
}

int run(const Arguments& arguments) {
  const hepgan::Generator generator(arguments.model, arguments.options);
  if (!arguments.rows.empty()) {
    write_csv(from_file(generator, arguments.rows));
    return EXIT_SUCCESS;
  }
  std::mt19937_64 engine(arguments.seed);
  const hepgan::Events events = generator.generate(repeated(generator, arguments.condition, arguments.n), engine);
  if (arguments.csv) {
    write_csv(events);
    return EXIT_SUCCESS;
  }
  const double difference = generator.self_test();
  std::cout << arguments.model << " (ONNX Runtime " << generator.runtime_version() << ")\nself-test: largest difference "
            << difference << (difference <= hepgan::tolerance ? ", passed" : ", FAILED") << "\n";
  for (const hepgan::Condition& c : generator.conditions()) {
    std::cout << c.name << ": trained ";
    if (c.categories.empty()) std::cout << "from " << c.low << " to " << c.high << " " << c.unit;
    const char* separator = "with ";
    for (const auto& [name, value] : c.categories) {
      std::cout << separator << name << " = " << value;
      separator = ", ";
    }
    std::cout << "\n";
  }
  const bool tracks = generator.layers().empty();
  (tracks ? describe_tracks : describe_showers)(generator, events);
  for (const std::size_t batch : {std::size_t{1}, std::size_t{100}, std::size_t{1000}})
    std::cout << "batch " << std::setw(4) << batch << ": "
              << (tracks ? 1e6 : 1e3) * seconds(generator, arguments.condition, batch)
              << (tracks ? " us per track" : " ms per shower") << ", one thread\n";
  return difference <= hepgan::tolerance ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  for (const std::string& word : words)
    if (word == "-h" || word == "--help") return std::cout << usage, EXIT_SUCCESS;
  try {
    return run(parse(words));
  } catch (const std::exception& error) {
    std::cerr << "hepgan-shoot: " << error.what() << "\n";
    return 2;
  }
}
