// Tests of hepgan/errors.hpp: each error is caught as hepgan::Error, as its own class, and as its standard exception.
//
//   test_errors MODEL TEST...
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "harness.hpp"
#ifdef HEPGAN_HEADER  // as for hepgan-bench
#include HEPGAN_HEADER
#else
#include "hepgan/generator.hpp"
#include "hepgan/hits.hpp"
#define HEPGAN_GENERATOR hepgan::Generator
#endif

namespace {

using Generator = HEPGAN_GENERATOR;

template <class Own, class Standard>
constexpr bool is_both = std::is_base_of_v<hepgan::Error, Own> && std::is_base_of_v<Standard, Own> &&
                         std::is_convertible_v<Own*, std::exception*> && std::is_nothrow_copy_constructible_v<Own>;
static_assert(is_both<hepgan::ModelFileError, std::runtime_error> && is_both<hepgan::NotFoundError, hepgan::ModelFileError> &&
              is_both<hepgan::RuntimeLibraryError, std::runtime_error> && is_both<hepgan::NotFiniteError, std::runtime_error> &&
              is_both<hepgan::ConditionRangeError, std::invalid_argument> && is_both<hepgan::InputError, std::invalid_argument> &&
              is_both<hepgan::LookupError, std::out_of_range>);

std::vector<float> middle(const Generator& generator) {
  std::vector<float> row;
  for (const hepgan::Condition& c : generator.conditions())
    row.push_back(static_cast<float>(c.categories.empty() ? 0.5 * (c.low + c.high) : c.categories[0].second));
  return row;
}

void missing_file(const std::string&) {
  require_error<hepgan::NotFoundError, std::runtime_error>([] { const Generator g("/no/such/file"); }, "not found: /no/such/file");
  require_error<hepgan::ModelFileError, std::runtime_error>([] { const Generator g("/no/such/file"); }, "not found: /no/such/file");
}

/// Require a ModelFileError that is no NotFoundError: the file exists.
void require_damaged(const std::string& path, const std::string& part) {
  require_error<hepgan::ModelFileError, std::runtime_error>([&] { const Generator g(path); }, part);
  try {
    const Generator g(path);
  } catch (const hepgan::NotFoundError& error) {
    throw std::runtime_error(std::string("expected a file that is there, got ") + error.what());
  } catch (const hepgan::Error&) {
  }
}

void bad_file(const std::string& model) {
  require_damaged("/", "got a folder or something unreadable");
  std::ifstream file(model, std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const std::string path = model + ".errors";
  for (std::string text : {std::string(), std::string("this is text"), content.substr(0, content.size() / 2), content}) {
    if (text == content) text[content.size() / 3] ^= 1;
    std::ofstream(path, std::ios::binary) << text;
    require_damaged(path, "hepgan: " + path + ": ");
  }
  std::remove(path.c_str());
}

void metadata(const std::string& model) {
  require_error<hepgan::ModelFileError, std::runtime_error>([] { hepgan::json::parse("[1,]"); }, "metadata: not JSON");
  const Generator generator(model);
  require_error<hepgan::ModelFileError, std::runtime_error>([&] { generator.metadata().at("colour"); }, "expected the key 'colour'");
}

void conditions(const std::string& model) {
  const Generator generator(model);
  std::mt19937_64 engine(1);
  std::vector<float> row = middle(generator);
  const auto generate = [&] { generator.generate(row, engine); };
  row[0] = static_cast<float>(2 * generator.conditions()[0].high);
  require_error<hepgan::ConditionRangeError, std::invalid_argument>(generate, "(the trained range)");
  hepgan::Options options;
  options.out_of_range = hepgan::Action::extrapolate;
  const Generator extrapolating(model, options);
  options.out_of_range = hepgan::Action::clamp;
  const Generator clamping(model, options);
  for (const float value : {not_a_number, infinite, -infinite}) {
    row[0] = value;
    require_error<hepgan::ConditionRangeError, std::invalid_argument>(generate, "(the trained range)");
    require_error<hepgan::ConditionRangeError, std::invalid_argument>([&] { extrapolating.generate(row, engine); }, "finite number");
  }
  require(clamping.generate(row, engine).size() == 1 && clamping.counts().clamped == 1, "minus infinity clamped");
  row[0] = not_a_number;
  require_error<hepgan::ConditionRangeError, std::invalid_argument>([&] { clamping.generate(row, engine); }, "(the trained range)");
  for (std::size_t k = 0; k < row.size(); ++k) {
    if (generator.conditions()[k].categories.empty()) continue;
    row = middle(generator);
    row[k] = 13;
    require_error<hepgan::ConditionRangeError, std::invalid_argument>(generate, "expected one of");
  }
}

void input(const std::string& model) {
  const Generator generator(model);
  const std::vector<float> row = middle(generator);
  std::vector<float> short_of_one(generator.width() - 1);
  const auto require_input = require_error<hepgan::InputError, std::invalid_argument>;
  if (row.size() > 1)
    require_input([&] { generator.generate(std::vector<float>(row.size() + 1), hepgan::Key{}); }, "conditions: expected a multiple of");
  require_input([&] { generator.generate(std::vector<float>(), std::vector<hepgan::Key>(1)); }, "keys: expected 0 x 1 numbers, got 1");
  require_input([&] { generator.generate(row, std::vector<float>(1)); }, "latent: expected 1 x");
  require_input([&] { generator.generate(row, std::vector<hepgan::Key>(2)); }, "keys: expected 1 x 1 numbers, got 2");
  require_input([&] { generator.generate(row, hepgan::Key{}, short_of_one); }, "out: expected 1 x");
  hepgan::Options options;
  options.not_finite = hepgan::Action::clamp;
  require_input([&] { const Generator g(model, options); }, "Options::not_finite: expected fail or skip");
}

/// No events give no showers or tracks, whatever the source of their latent numbers.
void empty(const std::string& model) {
  const Generator generator(model);
  const std::vector<float> none;
  std::mt19937_64 engine(1);
  require(generator.generate(none, none).size() == 0 && generator.generate(none, engine).size() == 0, "no events");
  const hepgan::Events events = generator.generate(none, std::vector<hepgan::Key>());
  require(events.size() == 0 && generator.generate({}, hepgan::Key{}).size() == 0, "no events of no keys, or of a key");
  require_error<hepgan::LookupError, std::out_of_range>([&] { static_cast<void>(events.values(0)); }, "event 0 of 0");
  std::vector<float> out;
  generator.generate(none, engine, out);
  require(engine() == std::mt19937_64(1)(), "an engine that was not asked");
}

/// An engine whose flat() is broken.
struct Broken {
  float value;
  double flat() const { return static_cast<double>(value); }
};

void not_finite(const std::string& model) {
  const Generator generator(model);
  hepgan::Options options;
  options.not_finite = hepgan::Action::skip;
  const Generator lenient(model, options);
  const std::vector<float> row = middle(generator);
  std::vector<float> out(generator.width());
  for (const float value : {not_a_number, infinite, -infinite})
    for (const std::size_t place : {std::size_t{0}, generator.latent_size() - 1}) {
      std::vector<float> latent(generator.latent_size(), 0.1F);
      latent[place] = value;
      require_error<hepgan::NotFiniteError, std::runtime_error>([&] { generator.generate(row, latent); },
                                                                "latent: expected finite numbers, got ");
      std::fill(out.begin(), out.end(), 1.0F);
      lenient.generate(row, latent, out);
      require(std::all_of(out.begin(), out.end(), [](float x) { return x == 0; }), "zeros");
      auto draw = [&] { return static_cast<double>(value); };
      require_error<hepgan::NotFiniteError, std::runtime_error>([&] { generator.generate(row, draw); }, "latent: expected finite");
      Broken broken{value};
      require_error<hepgan::InputError, std::invalid_argument>([&] { generator.generate(row, broken); }, "numbers from 0 to 1 from flat()");
    }
  require(lenient.counts().not_finite == 6, "six events counted");
  std::vector<float> wanted = middle(generator), got = wanted;
  wanted.resize(generator.width());
  got = wanted;
  got.back() = not_a_number;
  require(generator.model().difference(got, wanted) > 1, "NaN is a difference from the reference vectors");
  require_error<hepgan::InputError, std::invalid_argument>(
      [] { hepgan::consecutive({1, 0, std::numeric_limits<std::uint64_t>::max(), 0}, 2); }, "event numbers up to 2^64 - 1");
}

void lookup(const std::string& model) {
  const Generator generator(model);
  const hepgan::Events events = generator.generate(middle(generator), hepgan::Key{});
  const std::size_t n = generator.outputs().size();
  const auto require_lookup = require_error<hepgan::LookupError, std::out_of_range>;
  require_lookup([&] { static_cast<void>(events.values(1)); }, "event 1 of 1");
  require_lookup([&] { static_cast<void>(events.output(0, "colour")); }, "no output 'colour'");
  require_lookup([&] { static_cast<void>(events.output(0, n)); }, "output " + std::to_string(n) + " of " + std::to_string(n));
}

void hits(const std::string& model) {
  const Generator generator(model);
  const auto require_input = require_error<hepgan::InputError, std::invalid_argument>;
  require_input([] { static_cast<void>(hepgan::mev("erg")); }, "unit of energy: expected eV");
  require_input([] { hepgan::Frame(0, {0, 0, 0}, {0, 0, 0}); }, "direction: expected three finite numbers");
  require_input([] { hepgan::Frame(0, {0, 0, 0}, {0, 0, 1}, {0, 0, 2}); }, "x axis of a shower");
  require_input([] { hepgan::Frame(static_cast<double>(infinite), {0, 0, 0}, {0, 0, 1}); }, "entry point: expected finite");
  require_input([] { static_cast<void>(hepgan::depths({})); }, "depths: expected layers, got none");
  require_input([&] { hepgan::HitMaker(generator.layers(), "MeV", -1); }, "threshold: expected a finite number >= 0");
  const hepgan::HitMaker maker(generator.layers(), "MeV");
  require_input([&] { hepgan::HitMaker(generator.layers(), "MeV", static_cast<double>(not_a_number)); }, "threshold: expected a finite number >= 0");
  require_input([] { hepgan::Frame(0, {0, 0, 0}, {0, 0, static_cast<double>(not_a_number)}); }, "direction: expected three finite numbers");
  const std::vector<float> too_many(maker.n_cells() + 1);
  std::vector<hepgan::Hit> all;
  require_input([&] { maker.make(too_many, {0, {}, {0, 0, 1}}, all); }, "hits: expected the energies of");
  std::vector<float> broken(maker.n_cells());
  if (broken.empty()) return;
  broken.back() = not_a_number;
  require_input([&] { maker.make(broken, {0, {}, {0, 0, 1}}, all); }, "hits: expected finite energies, got nan in cell ");
  require(all.empty(), "no hits of a broken shower");
}

#ifndef HEPGAN_HEADER
void runtime(const std::string& model) {
  const auto require_runtime = require_error<hepgan::RuntimeLibraryError, std::runtime_error>;
  hepgan::Options options;
  options.device = "tpu";
  require_runtime([&] { const Generator g(model, options); }, "hepgan: " + model + ": device: expected 'cpu', 'cuda' or 'cuda:N'");
  options.runtime = "/no/such/libonnxruntime.so";
  require_runtime([&] { const Generator g(model, options); }, "ONNX Runtime could not be loaded");
}
#endif

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, void (*)(const std::string&)> tests{
      {"missing_file", missing_file}, {"bad_file", bad_file}, {"metadata", metadata}, {"conditions", conditions},
      {"input", input}, {"empty", empty}, {"not_finite", not_finite}, {"lookup", lookup}, {"hits", hits},
#ifndef HEPGAN_HEADER
      {"runtime", runtime},
#endif
  };
  return run_tests(argc, argv, 2, "test_errors MODEL TEST...", [&](const std::string& name) { tests.at(name)(argv[1]); });
}
