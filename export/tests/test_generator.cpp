// Tests of hepgan/generator.hpp, noise.hpp and json.hpp: test_generator MODEL.onnx TEST...
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "harness.hpp"
#include "hepgan/generator.hpp"

namespace {

std::vector<float> middle(const hepgan::Generator& generator, std::size_t n) {
  std::vector<float> result;
  for (std::size_t k = 0; k < n; ++k)
    for (const hepgan::Condition& c : generator.conditions())
      result.push_back(static_cast<float>(c.categories.empty() ? 0.5 * (c.low + c.high) : c.categories[0].second));
  return result;
}

void reference(const std::string& model) {
  const hepgan::Generator generator(model);
  const double difference = generator.self_test();
  std::cout << "largest difference " << difference << ", " << generator.runtime() << "\n";
  require(difference <= hepgan::tolerance, "the reference vectors");
}

void geometry(const std::string& model) {
  const hepgan::Generator generator(model);
  std::size_t cells = 0;
  for (const hepgan::Layer& layer : generator.layers()) {
    require(layer.cell_centres.size() == layer.shape[0] * layer.shape[1], "one centre a cell");
    require(layer.x.size() == layer.shape[0] + 1 && layer.y.size() == layer.shape[1] + 1, "edges around the cells");
    for (const auto& centre : layer.cell_centres) require(centre[2] > layer.z[0] && centre[2] < layer.z[1], "centres inside");
    cells += layer.cell_centres.size();
  }
  require(cells == generator.n_cells(), "as many cells as outputs of layers");
  require(!generator.unit().empty(), "a unit");
}

void physics(const std::string& model) {
  const hepgan::Generator generator(model);
  std::mt19937_64 engine(5);
  const hepgan::Showers showers = generator.generate(middle(generator, 300), engine);
  require(showers.size() == 300, "300 showers");
  for (std::size_t shower = 0; shower < showers.size(); ++shower) {
    double sum = 0;
    for (std::size_t k = 0; k < generator.layers().size(); ++k) sum += showers.output(shower, k).sum();
    const hepgan::Span<const float> cells = showers.cells(shower);
    require(cells.size() == generator.n_cells(), "all cells");
    for (const float energy : cells) require(hepgan::detail::is_finite(energy) && energy >= 0, "energies that are finite and >= 0");
    require(sum > 0 && std::abs(sum - cells.sum()) <= 1e-9 * sum, "layers that sum to the total");
  }
  require_message([&] { static_cast<void>(showers.output(300, 0)); }, "event 300 of 300");
  require_message([&] { static_cast<void>(showers.output(0, "layer_99")); }, "no output 'layer_99'");
}

void batches(const std::string& model) {
  hepgan::Options small;
  small.batch = 7;
  const hepgan::Generator generator(model), in_sevens(model, small);
  std::mt19937_64 one(3), other(3);
  const hepgan::Events a = generator.generate(middle(generator, 40), one), b = in_sevens.generate(middle(generator, 40), other);
  for (std::size_t event = 0; event < a.size(); ++event)
    require(generator.model().difference(a.values(event), b.values(event)) <= hepgan::tolerance, "the same events in any batches");
}

void threads(const std::string& model) {
  const hepgan::Generator generator(model);
  constexpr std::size_t workers = 8;
  std::vector<double> sums(workers);
  std::vector<std::thread> pool;
  for (std::size_t k = 0; k < workers; ++k)
    pool.emplace_back([&, k] {
      std::mt19937_64 engine(9);
      for (int event = 0; event < 20; ++event) sums[k] += generator.generate(middle(generator, 1), engine).values(0).sum();
    });
  for (std::thread& thread : pool) thread.join();
  for (const double sum : sums) require(sum == sums[0], "the same events from every thread");
}

void targets(const std::string& model) {
  const hepgan::Generator generator(model);
  require(generator.kind() == "observables" && generator.layers().empty() && generator.n_cells() == 0, "no geometry");
  std::mt19937_64 engine(5);
  const hepgan::Tracks tracks = generator.generate(middle(generator, 2000), engine);
  std::size_t exact = 0;
  for (std::size_t k = 0; k < generator.outputs().size(); ++k) {
    const hepgan::Output& output = generator.outputs()[k];
    require(output.role == "target" && output.size == 1 && output.scale > 0 && !output.atoms.empty(), "a target with its atoms");
    for (std::size_t track = 0; track < tracks.size(); ++track) {
      const float value = tracks.output(track, output.name)[0];
      require(value == tracks.values(track)[k] && hepgan::detail::is_finite(value), "finite numbers, in the order of the outputs");
      require(value > -500 || value == -999.0F, "sentinels that are exact, got " + std::to_string(value));
      exact += value == -999.0F;
    }
  }
  require(exact > 0 && exact < tracks.size(), "some sentinels");
}

void categories(const std::string& model) {
  hepgan::Options options;
  options.out_of_range = hepgan::Action::extrapolate;
  const hepgan::Generator generator(model, options);
  const std::vector<hepgan::Condition>& conditions = generator.conditions();
  const auto species = std::find_if(conditions.begin(), conditions.end(), [](const auto& c) { return !c.categories.empty(); });
  require(species != conditions.end() && species->categories.size() == 3, "three species");
  std::mt19937_64 engine(1);
  std::vector<float> row = middle(generator, 1);
  float& value = row[static_cast<std::size_t>(species - conditions.begin())];
  for (const auto& [name, number] : species->categories) {
    value = static_cast<float>(number);
    require(generator.generate(row, engine).size() == 1, "a track of " + name);
    require_message([&] { value += 1; static_cast<void>(generator.generate(row, engine)); }, name + " = ");
  }
  require_message([&] { static_cast<void>(generator.generate(row, engine)); }, "'" + species->name + "': expected one of ");
  value = not_a_number;
  require_message([&] { static_cast<void>(generator.generate(row, engine)); }, "the generator was trained with no other");
}

void out_of_range(const std::string& model) {
  hepgan::Options options;
  const hepgan::Generator strict(model, options);
  options.out_of_range = hepgan::Action::extrapolate;
  const hepgan::Generator lenient(model, options);
  const hepgan::Condition& c = strict.conditions()[0];
  std::vector<float> conditions = middle(strict, 2);
  conditions[strict.conditions().size()] = static_cast<float>(2 * c.high);
  std::mt19937_64 engine(1);
  const std::string got = message([&] { strict.generate(conditions, engine); });
  for (const std::string& part : {"'" + c.name + "'", std::string("(the trained range)"), std::string("in row 1"),
                                 std::string("--extrapolate"), c.unit})
    require(contains(got, part), "a message with '" + part + "', got '" + got + "'");
  require(lenient.generate(conditions, engine).size() == 2, "two showers");
  conditions[0] = not_a_number;
  require_message([&] { lenient.generate(conditions, engine); }, "finite number");
  for (const float value : {infinite, -infinite}) {
    conditions[0] = value;
    require_message([&] { lenient.generate(conditions, engine); }, "finite number");
    require_message([&] { strict.generate(conditions, engine); }, "(the trained range)");
  }
  conditions.push_back(1);
  if (strict.conditions().size() > 1)
    require_message([&] { strict.generate(conditions, engine); }, std::string("give one row a ") + strict.row());
  require_message([&] { strict.generate(middle(strict, 1), std::vector<float>(1)); }, "latent: expected 1 x ");
}

void actions(const std::string& model) {
  hepgan::Options options;
  options.out_of_range = hepgan::Action::clamp;
  const hepgan::Generator clamping(model, options);
  options.out_of_range = hepgan::Action::skip;
  const hepgan::Generator skipping(model, options);
  std::vector<std::size_t> asked;
  options.on_excursion = [&](const hepgan::Excursion& excursion) {
    asked.push_back(excursion.row);
    require(excursion.condition.name == clamping.conditions()[0].name && excursion.value > excursion.condition.high, "what is outside");
    return excursion.row == 1 ? hepgan::Action::skip : hepgan::Action::extrapolate;
  };
  const hepgan::Generator asking(model, options);
  const hepgan::Condition& c = clamping.conditions()[0];
  const std::size_t width = clamping.conditions().size();
  std::vector<float> conditions = middle(clamping, 3), at_the_end = conditions;
  for (const std::size_t row : {1U, 2U}) {
    conditions[row * width] = static_cast<float>(1.5 * c.high);
    at_the_end[row * width] = static_cast<float>(c.high);
  }
  const std::vector<hepgan::Key> keys{{1, 0, 0, 0}, {1, 0, 1, 0}, {1, 0, 2, 0}};
  const hepgan::Events inside = clamping.generate(at_the_end, keys), clamped = clamping.generate(conditions, keys);
  for (std::size_t row = 0; row < 3; ++row)
    for (std::size_t k = 0; k < clamping.width(); ++k) require(inside.values(row)[k] == clamped.values(row)[k], "the end of the range");
  require(clamping.counts().clamped == 2 && clamping.counts().skipped == 0, "two clamped");
  const hepgan::Events skipped = skipping.generate(conditions, keys);
  for (std::size_t k = 0; k < clamping.width(); ++k)
    require(skipped.values(0)[k] == inside.values(0)[k] && skipped.values(1)[k] == 0 && skipped.values(2)[k] == 0, "zeros");
  require(skipping.counts().skipped == 2, "two skipped");
  const hepgan::Events chosen = asking.generate(conditions, keys);
  require(asked == std::vector<std::size_t>{1, 2}, "to be asked once for each");
  require(chosen.values(1).sum() == 0 && chosen.values(2).sum() != 0, "one skipped, one extrapolated");
  require(asking.counts().skipped == 1 && asking.counts().extrapolated == 1, "both counted");
  conditions[0] = not_a_number;
  require_message([&] { clamping.generate(conditions, keys); }, "finite number");
  require_message([&] { hepgan::Options wrong; wrong.not_finite = hepgan::Action::clamp; hepgan::Generator g(model, wrong); }, "not_finite");
}

void not_finite(const std::string& model) {
  const hepgan::Generator strict(model);
  hepgan::Options options;
  options.not_finite = hepgan::Action::skip;
  const hepgan::Generator lenient(model, options);
  std::vector<float> latent(3 * strict.latent_size(), 0.5F);
  std::fill_n(latent.begin() + static_cast<std::ptrdiff_t>(strict.latent_size()), strict.latent_size(), not_a_number);
  const std::vector<float> conditions = middle(strict, 3);
  const std::string got = message([&] { strict.generate(conditions, latent); });
  require(contains(got, "latent: expected finite numbers, got nan in row 1 (" + strict.conditions()[0].name + " = "), "row and condition: " + got);
  const hepgan::Events events = lenient.generate(conditions, latent);
  require(events.values(0).sum() != 0 && events.values(1).sum() == 0 && events.values(2).sum() != 0, "zeros in one event");
  require(lenient.counts().not_finite == 1 && strict.counts().not_finite == 1, "one counted");
}

void noise(const std::string&) {
  const float expected[] = {-0x1.f65a24p-3F, 0x1.ec5efp-3F, 0x1.daae9cp-2F, 0x1.e2cd5ap-3F, -0x1.d17d68p+0F, 0x1.eb8a42p+0F,
                            -0x1.87b8p-4F, -0x1.e11c0ep-2F, 0x1.42acccp-1F, 0x1.ca7e3ep-3F, 0x1.84816cp-1F};
  float got[11];
  hepgan::normal({7, ~std::uint64_t{0}, std::uint64_t{1} << 63U, 9}, got, 11);
  require(std::equal(std::begin(got), std::end(got), std::begin(expected)), "the numbers of hepgan.inference.noise");
  std::uint64_t hash = 14695981039346656037U;
  for (const float knot : hepgan::Quantile::table().knots()) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &knot, sizeof(bits));
    hash = (hash ^ bits) * 1099511628211U;
  }
  require(hash == 0xcf2e6cf314dab2dfU, "the knots of hepgan.inference.noise");
  constexpr std::uint64_t last = std::numeric_limits<std::uint64_t>::max();
  const std::vector<hepgan::Key> keys = hepgan::consecutive({1, 2, last - 2, 4}, 3);
  require(keys.size() == 3 && keys[0].event == last - 2 && keys[2].event == last && keys[2].track == 4, "the last event number");
  require(hepgan::consecutive({1, 2, last, 4}, 0).empty(), "no keys");
  require_message<hepgan::InputError>([] { hepgan::consecutive({1, 2, last - 2, 4}, 4); }, "event numbers up to 2^64 - 1, got 4 events from");
}

void keys(const std::string& model) {
  const hepgan::Generator generator(model);
  constexpr std::size_t n = 24;
  const std::vector<float> conditions = middle(generator, n);
  std::vector<hepgan::Key> key;
  for (std::uint64_t k = 0; k < n; ++k) key.push_back({3, 1, k / 4, k % 4});
  const hepgan::Events together = generator.generate(conditions, key);
  std::vector<std::vector<float>> alone(n, std::vector<float>(generator.width()));
  std::vector<std::thread> workers;
  for (std::size_t worker = 0; worker < 8; ++worker)
    workers.emplace_back([&, worker] {
      for (std::size_t k = worker; k < n; k += 8) generator.generate(middle(generator, 1), key[k], alone[k]);
    });
  for (std::thread& worker : workers) worker.join();
  for (std::size_t k = 0; k < n; ++k) {
    require(generator.model().difference(together.values(k), alone[k]) <= hepgan::tolerance, "the same event in any thread and batch");
    require(k == 0 || generator.model().difference(together.values(k), together.values(k - 1)) > 1e-3, "another event for another track");
  }
  require_message([&] { generator.generate(conditions, hepgan::Key{}); }, "keys: expected 24 x 1 numbers, got 1");
  require_message([&] { generator.generate(conditions, key, alone[0]); }, "out: expected 24 x ");
}

/// An engine with the interface of CLHEP's.
struct Flat {
  std::mt19937_64 bits{5};
  double flat() { return std::ldexp(static_cast<double>(bits() >> 11U), -53); }
};

void engines(const std::string& model) {
  const hepgan::Generator generator(model);
  const std::vector<float> conditions = middle(generator, 2);
  std::mt19937_64 wide(5);
  Flat flat;
  const hepgan::Events a = generator.generate(conditions, wide), b = generator.generate(conditions, flat);
  require(std::equal(a.values(0).begin(), a.values(1).end(), b.values(0).begin()), "bits and flat() of one engine to agree");
  std::mt19937 narrow(5);
  std::minstd_rand odd(5);
  std::normal_distribution<double> gauss;
  std::vector<float> numbers(20000);
  const auto check = [&](const char* what) {
    double mean = 0, square = 0;
    for (const float x : numbers) mean += static_cast<double>(x), square += static_cast<double>(x) * static_cast<double>(x);
    const auto count = static_cast<double>(numbers.size());
    require(std::abs(mean / count) < 4 / std::sqrt(count) && std::abs(square / count - 1) < 4 * std::sqrt(2 / count), what);
  };
  hepgan::normal(narrow, numbers.data(), numbers.size());
  check("normal numbers of 32 bits");
  hepgan::normal(odd, numbers.data(), numbers.size());
  check("normal numbers of an engine of an odd range");
  auto draw = [&] { return gauss(narrow); };
  hepgan::normal(draw, numbers.data(), numbers.size());
  check("normal numbers of a callable");
  require(generator.generate(conditions, draw).size() == 2, "a callable to be a source");
}

void devices(const std::string& model) {
  hepgan::Options options;
  options.device = "tpu";
  require_message([&] { hepgan::Generator g(model, options); }, "device: expected 'cpu', 'cuda' or 'cuda:N', got 'tpu'");
  options.device = "cuda";  // reference vectors on a machine with a GPU, otherwise a clear message
  try {
    require(hepgan::Generator(model, options).self_test() <= hepgan::tolerance, "the reference vectors on the GPU");
  } catch (const hepgan::RuntimeLibraryError& error) {
    require(contains(error.what(), "device: expected a GPU and ONNX Runtime with CUDA for 'cuda'"), error.what());
  }
}

/// Two bugs on purpose, a data race and a read beyond the end, to test that sanitizers find them.
void control(const std::string&) {
  std::vector<int> numbers(3);
  std::thread other([&] { ++numbers[0]; });
  ++numbers[0];
  other.join();
  volatile const std::size_t beyond = 3;
  std::cout << numbers.data()[beyond] << "\n";
}

void bad_file(const std::string& model) {
  require_message([] { hepgan::Generator("/no/such/model.onnx"); }, "model not found: /no/such/model.onnx");
  require_message([] { hepgan::Generator("/"); }, "/: expected a .onnx file, got a folder");
  std::ifstream file(model, std::ios::binary);
  std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const std::string path = model + ".bad";
  const auto write = [&](const std::string& text) { std::ofstream(path, std::ios::binary) << text; };
  write(content.substr(0, content.size() / 2));
  require_message([&] { hepgan::Generator g(path); }, "not an ONNX file, or damaged");
  write("this is text");
  require_message([&] { hepgan::Generator g(path); }, "not an ONNX file, or damaged");
  std::string renamed = content;
  renamed.replace(renamed.rfind("hepgan\x12"), 6, "nagpeh");  // the key of the metadata entry, before its value
  write(renamed);
  require_message([&] { hepgan::Generator g(path); }, "not one of hepgan");
  std::string newer = content;
  newer.replace(newer.find("\"schema\":1"), 10, "\"schema\":9");
  write(newer);
  require_message([&] { hepgan::Generator g(path); }, "expected metadata of schema 1 or older, got 9");
  std::string altered = content;
  altered[content.size() / 3] ^= 1;  // a bit of a weight
  write(altered);
  require_message([&] { hepgan::Generator g(path); }, "the weights were altered: expected sha256 ");
  std::string wrong = content;
  const std::size_t reference = wrong.find("\"outputs\":{");
  char& digit = wrong[wrong.find('.', reference) - 1];
  digit = digit == '1' ? '2' : '1';
  write(wrong);
  require_message([&] { hepgan::Generator g(path); }, "expected the reference vectors within ");
  std::string broken = content;
  broken.replace(broken.find("{\"schema\""), 1, "[");
  write(broken);
  require_message([&] { hepgan::Generator g(path); }, "not JSON");
  std::remove(path.c_str());
}

void missing_runtime(const std::string& model) {
  hepgan::Options options;
  options.runtime = "/no/such/libonnxruntime.so";
  const std::string got = message([&] { hepgan::Generator(model, options); });
  require(contains(got, "ONNX Runtime could not be loaded") && contains(got, options.runtime) &&
              contains(got, "HEPGAN_ONNXRUNTIME"), "a message that names file and variable, got '" + got + "'");
}

void json(const std::string&) {
  using hepgan::json::parse;
  const auto value = parse(R"( {"a": [1, -2.5e3, true, null], "b": {"c": "x\n\u00e9\ud83d\ude00"}, "d": ""} )");
  require(value.at("a").items().size() == 4 && value.at("a").items()[1].real() == -2500, "an array");
  require(value.at("b").at("c").text() == "x\n\xc3\xa9\xf0\x9f\x98\x80", "UTF-8");
  require(parse("0.1").real() == 0.1, "exact decimals");
  for (const char* bad : {"", "{", "[1,]", "{\"a\":1,}", "01", "1.", "nul", "\"a", "[1] 2", "{\"a\":1,\"a\":2}", "\"\\x\"", "\"\\ud800\"",
                          "1e999", "'a'", "[\"\t\"]", "-", "NaN"})
    require_message([&] { parse(bad); }, "metadata: not JSON");
  require_message([] { parse(std::string(10000, '[')); }, "nested too deeply");
  require_message([&] { static_cast<void>(value.at("z")); }, "expected the key 'z'");
  require_message([&] { static_cast<void>(value.at("a").text()); }, "expected a string");
  require_message([] { static_cast<void>(parse("-1").count()); }, "whole number");
}

}  // namespace

int main(int argc, char** argv) {
  const std::map<std::string, void (*)(const std::string&)> tests{
      {"reference", reference}, {"geometry", geometry},     {"physics", physics}, {"batches", batches},
      {"threads", threads},     {"out_of_range", out_of_range}, {"bad_file", bad_file}, {"missing_runtime", missing_runtime},
      {"actions", actions},     {"not_finite", not_finite},     {"noise", noise},       {"keys", keys},
      {"engines", engines},     {"devices", devices},     {"control", control},
      {"targets", targets},     {"categories", categories}, {"json", json}};
  return run_tests(argc, argv, 2, "test_generator MODEL.onnx TEST...", [&](const std::string& name) { tests.at(name)(argv[1]); });
}
