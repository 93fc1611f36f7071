// hepgan-shoot: prints showers or tracks from a model file, or their means.
//
//   hepgan-shoot showers.onnx --energy 10 -n 1000 --seed 1
//   hepgan-shoot rich.onnx --condition 30000,3.5,150 --csv > tracks.csv
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "command.hpp"
#include "hepgan/generator.hpp"

namespace {

const std::string usage = std::string(
    "usage: hepgan-shoot MODEL.onnx [--condition C1[,C2,...]] [-n N] [--seed S] [--csv] ...\n"
    "Print showers or tracks; hepgan generate gives the same ones with the same seed, run and event.\n"
    "  --condition  value of each condition, separated by commas (default: the middle of the trained range);\n"
    "               --energy is the same\n"
    "  -n           number of showers or tracks (default 1000)\n"
    "  --seed, --run, --first-event\n"
    "               key of the noise: row k is event FIRST + k of the run (default 1, 0, 0)\n"
    "  --csv        print each shower or track instead of means, one a line: cells, then overflow; or targets\n"
    "  --rows       take conditions and latent numbers from a text file, one shower or track a line\n"
    "  --out-of-range\n"
    "               action outside the trained range: fail, clamp, extrapolate (also --extrapolate) or skip\n") +
    command::common + "example: hepgan-shoot model.onnx --condition 10 -n 1000 --seed 1\n";

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

/// Print the mean of each target without its atoms, and the fraction of tracks with each atom.
void describe_tracks(const hepgan::Generator& generator, const hepgan::Tracks& tracks) {
  std::cout << tracks.size() << " tracks, means away from exact values\n";
  for (std::size_t k = 0; k < generator.outputs().size(); ++k) {
    const hepgan::Output& output = generator.outputs()[k];
    std::vector<std::size_t> exact(output.atoms.size());
    double total = 0;
    std::size_t others = 0;
    for (std::size_t track = 0; track < tracks.size(); ++track) {
      const float value = tracks.output(track, k)[0];
      const auto equal = std::find_if(output.atoms.begin(), output.atoms.end(),
                                      [&](double atom) { return value == static_cast<float>(atom); });
      if (equal != output.atoms.end()) {
        ++exact[static_cast<std::size_t>(equal - output.atoms.begin())];
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

/// Print the mean energy of each output, and the occupancy of each layer.
void describe_showers(const hepgan::Generator& generator, const hepgan::Showers& showers) {
  const auto n = static_cast<double>(showers.size());
  std::cout << showers.size() << " showers, mean energies in " << generator.unit() << "\n";
  double all = 0;
  for (std::size_t k = 0; k < generator.outputs().size(); ++k) {
    const hepgan::Output& output = generator.outputs()[k];
    double total = 0, hits = 0;
    for (std::size_t shower = 0; shower < showers.size(); ++shower) {
      const auto values = showers.output(shower, k);
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

int shoot(const std::vector<std::string>& words) {
  command::Arguments arguments;
  std::size_t n = 1000;
  hepgan::Key key{1, 0, 0, 0};
  std::string rows;
  bool csv = false;
  arguments.parse(words,
                  {{"-n", [&](const std::string& text) { n = static_cast<std::size_t>(command::number("-n", text, 1, 1e9)); }},
                   {"--seed", [&](const std::string& text) { key.seed = command::whole("--seed", text); }},
                   {"--run", [&](const std::string& text) { key.run = command::whole("--run", text); }},
                   {"--first-event", [&](const std::string& text) { key.event = command::whole("--first-event", text); }},
                   {"--rows", [&](const std::string& text) { rows = text; }}},
                  {{"--csv", &csv}});
  const hepgan::Generator generator(arguments.model, arguments.options);
  const hepgan::Events events = rows.empty() ? generator.generate(arguments.rows(generator, n), hepgan::consecutive(key, n))
                                             : from_file(generator, rows);
  if (csv || !rows.empty()) return write_csv(events), EXIT_SUCCESS;
  std::cout << arguments.model << " (" << generator.runtime() << ")\n";
  (generator.layers().empty() ? describe_tracks : describe_showers)(generator, events);
  const hepgan::Counts counts = generator.counts();
  if (counts.clamped + counts.extrapolated + counts.skipped > 0)
    std::cout << "outside the trained range: " << counts.clamped << " conditions clamped, " << counts.extrapolated << " extrapolated, "
              << counts.skipped << " events skipped\n";
  return EXIT_SUCCESS;
}

}  // namespace

int main(int argc, char** argv) { return command::run(argc, argv, "hepgan-shoot", usage, shoot); }
