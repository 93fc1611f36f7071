// Damaged files give an error of hepgan, never a crash or another exception: fuzz MODEL.onnx FOLDER SECONDS SEED. Changes bytes of
// the file or, with digests that still fit, the text of its description; loads each file and generates one event. Prints the
// numbers of files by outcome.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "hepgan/generator.hpp"

namespace {

using Engine = std::mt19937_64;

std::size_t below(Engine& engine, std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(engine); }

/// Change, remove, insert or repeat a few random bytes between `first` and `first + length`, or cut off the end.
std::string mutate(std::string text, Engine& engine, std::size_t first, std::size_t length) {
  for (std::size_t change = 1 + below(engine, 3); change > 0 && text.size() > first + 1; --change) {
    length = std::min(length, text.size() - first);
    const std::size_t at = first + below(engine, length), size = std::min(1 + below(engine, 16), text.size() - at);
    switch (below(engine, 6)) {
      case 0:
        text[at] = static_cast<char>(below(engine, 256));
        break;
      case 1:
        text[at] = static_cast<char>(text[at] ^ (1 << below(engine, 8)));
        break;
      case 2:
        text.erase(at, size);
        break;
      case 3:
        text.insert(at, text.substr(first + below(engine, length), size));
        break;
      case 4: {
        static constexpr std::array<const char*, 12> tokens{"-1",  "1e308", "0",    "99999999999999999999", "null", "[]",
                                                            "{}", "\"\"",  "[[[[", "1e-320",               "true", "3.5"};
        text.replace(at, size, tokens[below(engine, tokens.size())]);
        break;
      }
      default:
        if (below(engine, 8) == 0) text.resize(at);
    }
  }
  return text;
}

std::string variable(std::uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7U) bytes += static_cast<char>(static_cast<unsigned char>(0x80U | (value & 0x7FU)));
  return bytes + static_cast<char>(value);
}

/// The bytes of a metadata entry in an ONNX file.
std::string property(const std::string& text) {
  const std::string key = "hepgan";
  const std::string entry = "\x0a" + variable(key.size()) + key + "\x12" + variable(text.size()) + text;
  return "\x72" + variable(entry.size()) + entry;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return std::cerr << "usage: fuzz MODEL.onnx FOLDER SECONDS SEED\n", 2;
  std::ifstream file(argv[1], std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const std::string text = *hepgan::OnnxFile(content).description();
  const std::string whole = property(text);
  const std::size_t place = content.find(whole);
  if (place == std::string::npos) return std::cerr << "fuzz: the description was not found in the file\n", 2;
  const std::string path = std::string(argv[2]) + "/fuzzed.onnx";
  Engine engine(std::strtoull(argv[4], nullptr, 10));
  std::map<std::string, std::size_t> outcomes;
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(std::strtod(argv[3], nullptr));
  std::size_t done = 0;
  for (; std::chrono::steady_clock::now() < end; ++done) {
    std::string changed = content;
    if (done % 4 == 0) {
      changed = mutate(changed, engine, 0, changed.size());  // anywhere, most of it weights
    } else if (done % 4 == 1) {
      changed = mutate(changed, engine, 0, 4096);  // the nodes of the graph
    } else {
      // the first kilobytes of the description have its structure, the rest is mostly cell centres and reference vectors
      changed.replace(place, whole.size(), property(mutate(text, engine, 0, done % 4 == 2 ? text.size() : 2000)));
    }
    std::ofstream(path, std::ios::binary) << changed;
    try {
      const hepgan::Generator generator(path);
      std::vector<float> row;
      for (const hepgan::Condition& c : generator.conditions())
        row.push_back(static_cast<float>(c.categories.empty() ? c.low : c.categories[0].second));
      generator.generate(row, engine);
      ++outcomes["generated"];
    } catch (const hepgan::ConditionRangeError&) {
      ++outcomes["refused to generate"];
    } catch (const hepgan::Error& error) {
      const std::string message = error.what();
      if (message.rfind("hepgan: " + path, 0) != 0 && message.rfind("hepgan: output", 0) != 0)
        return std::cerr << "fuzz: a message that names no file: " << message << "\n", 1;
      ++outcomes["refused to load"];
    } catch (const std::exception& error) {
      return std::cerr << "fuzz: not an error of hepgan: " << error.what() << "\n", 1;
    }
  }
  std::remove(path.c_str());
  std::cout << done << " files";
  for (const auto& [what, count] : outcomes) std::cout << ", " << count << " " << what;
  std::cout << "\n";
  return EXIT_SUCCESS;
}
